"""A child process that ends with its parent, however the parent ends: it holds the read end of a pipe as its input."""

import os
import signal
import sys
import threading


def end_with_parent() -> None:
    """Ask this process to end (SIGTERM) as soon as its standard input does."""
    # A raw file descriptor: a thread that waits in `sys.stdin` holds a lock that a forked pool process would wait for.
    source = os.dup(sys.stdin.fileno())

    def watch() -> None:
        while os.read(source, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="dispatcher-parent", daemon=True).start()
