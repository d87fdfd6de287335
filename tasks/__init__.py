"""The functions of this deployment: `registry` holds them, `keyword_rules` says what its users' words speak for."""

from tasks import data, dates, dialogue, expression, language, numbers, primes, records, security, system, text, units
from tasks.rules import keyword_rules
from tasks.shared import registry

__all__ = [
    "data",
    "dates",
    "dialogue",
    "expression",
    "keyword_rules",
    "language",
    "numbers",
    "primes",
    "records",
    "registry",
    "security",
    "system",
    "text",
    "units",
]
