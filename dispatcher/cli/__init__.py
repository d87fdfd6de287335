"""The command line, `dispatcher …`."""
