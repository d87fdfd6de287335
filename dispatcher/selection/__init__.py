"""The dynamic selector: from text to a ranked Selection, or an abstention that says why."""
