"""The functions of this deployment: `registry` holds them, `selector` finds the one that a text asks for."""

from tasks import data, dates, dialogue, expression, language, numbers, primes, records, security, system, text, units
from tasks.rules import selector
from tasks.shared import registry

__all__ = [
    "data",
    "dates",
    "dialogue",
    "expression",
    "language",
    "numbers",
    "primes",
    "records",
    "registry",
    "security",
    "selector",
    "system",
    "text",
    "units",
]
