"""What functions may be called, and what to say about a name that none is called by."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from dispatcher.errors import UnknownFunctionError

#: Longest name, so that its tool name is one for every provider.
#: Source: OpenAI and Anthropic API references, `^[a-zA-Z0-9_-]{1,64}$`.
MAX_LENGTH: Final = 64
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*")

#: Names compared with an unknown one, the nearest in length; each comparison costs some 50 µs.
_MAX_COMPARED: Final = 300
_MAX_NEAR: Final = 3

#: Letters of other scripts that look like ASCII letters.
#: Source: Unicode Technical Standard 39, confusables, the letters of Cyrillic and Greek that keyboards type.
_LOOK_ALIKES: Final = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухһԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧανορυıɡ‐‑‒–—",  # noqa: RUF001 - these are the look-alikes
    "ABESIJKMHOPCTYXaesijopcyxhdqwABEZHIKMNOPTYXavopuig-----",
)


def find_fault(name: object) -> str:
    """What is wrong with a name for a function; empty if nothing is."""
    if not isinstance(name, str):
        return f"a name is text, not a {type(name).__name__}"
    if not _NAME.fullmatch(name[: MAX_LENGTH + 1]):
        return (
            f"{name[:80]!a} is no name: use ASCII letters, digits and underscores, in parts joined by dots, "
            "each part starting with a letter"
        )
    if len(name) > MAX_LENGTH:
        return f"the name is {len(name)} characters long; at most {MAX_LENGTH} fit every tool format"
    if name == "celery" or name.startswith("celery."):
        return f"{name!r} belongs to Celery's own tasks; choose another first part"
    return ""


def to_tool_name(name: str) -> str:
    """The name as LLM providers allow it. Reversible, since names hold no `-`."""
    return name.replace(".", "-")


def from_tool_name(name: str) -> str:
    """The name that a tool name stands for."""
    return name.replace("-", ".")


def explain_unknown(name: object, known: Iterable[str]) -> UnknownFunctionError:
    """The error for a name that nothing is registered under, with what may have been meant. Bounded work."""
    if not isinstance(name, str):
        return UnknownFunctionError(type(name).__name__, hint="a name is text")
    if not name:
        return UnknownFunctionError(name, hint="the name is empty")
    if len(name) > 2 * MAX_LENGTH:
        return UnknownFunctionError(name, hint=f"it is {len(name):,} characters long; names have at most {MAX_LENGTH}")
    plain = "".join(c for c in unicodedata.normalize("NFKC", name).translate(_LOOK_ALIKES) if c.isprintable()).strip()
    return UnknownFunctionError(name, near=_find_near(plain, known), hint=_find_hint(name, plain))


def _find_hint(name: str, plain: str) -> str:
    odd = next((c for c in name if not c.isascii() or not c.isprintable() or c.isspace()), None)
    if odd is not None:
        what = unicodedata.name(odd, f"U+{ord(odd):04X}")
        alike = ", which looks like an ASCII one" if odd.translate(_LOOK_ALIKES) in plain and odd.isalpha() else ""
        return f"it holds the character {what}{alike}; names are ASCII letters, digits, underscores and dots"
    if any(part.startswith("_") for part in name.split(".")):
        return "no registered name has a part that starts with an underscore"
    return ""


def _find_near(plain: str, known: Iterable[str]) -> list[str]:
    if not plain:
        return []
    candidates = sorted(known, key=lambda other: (abs(len(other) - len(plain)), other))[:_MAX_COMPARED]
    folded = {other.casefold(): other for other in reversed(candidates)}
    import difflib  # noqa: PLC0415 - for this message only

    near = difflib.get_close_matches(plain.casefold(), folded, n=_MAX_NEAR, cutoff=0.7)
    if len(near) < _MAX_NEAR:  # `count_words` for `text.count_words`
        last = plain.casefold().rsplit(".", 1)[-1]
        near += [other for other in folded if other.rsplit(".", 1)[-1] == last and other not in near]
    return [folded[other] for other in near[:_MAX_NEAR]]
