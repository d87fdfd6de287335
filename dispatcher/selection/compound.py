"""Tells a text that asks for several things apart into its parts."""

import re
from typing import Final

#: Parts that are looked at; a text of more is a list of material, not of requests.
MAX_PARTS: Final = 4
#: Words, or Chinese characters, that a request has at least.
MIN_WORDS: Final = 2
#: Characters of a text above which it is not told apart.
MAX_CHARACTERS: Final = 400

_BETWEEN = re.compile(
    r"\s*(?:[;；。！？]|[.!?](?=\s)|[,，]?\s*\b(?:and then|and also|then|and|also|plus)\b|[,，]?\s*(?:然后|接着|并且|以及|再|同时))\s*",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_]+")


def split_request(text: str) -> list[str]:
    """The parts of a text that may each be a request; the text alone where it cannot be told apart.

    A colon ends the instruction, and what follows is material: that is never cut.
    """
    if len(text) > MAX_CHARACTERS or re.search(r"[:：]\s", text):
        return [text]
    parts = [part.strip(" ,，.。!！?？") for part in _BETWEEN.split(text)]
    parts = [part for part in parts if part]
    if not 1 < len(parts) <= MAX_PARTS or any(len(_WORD.findall(part)) < MIN_WORDS for part in parts):
        return [text]
    return parts
