"""Frozen data: what passes through the rooms. Imports the standard library and pydantic only."""
