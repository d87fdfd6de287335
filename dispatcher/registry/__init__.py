"""The function registry: which functions there are, and what they take and return."""
