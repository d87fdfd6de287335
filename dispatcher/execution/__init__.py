"""The function executor: the worker's side."""
