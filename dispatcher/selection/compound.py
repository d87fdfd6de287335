"""Tells a text that asks for several things apart into its parts."""

import re
from typing import Final

from dispatcher.selection.words import read_request

#: Parts that are looked at; a text of more is a list of material, not of requests.
MAX_PARTS: Final = 4
#: Words, or Chinese characters, that a request has at least.
MIN_WORDS: Final = 2
#: Characters of a text above which it is not told apart.
MAX_CHARACTERS: Final = 400

_BETWEEN = re.compile(
    r"\s*(?:[;；。！？]|[.!?](?=\s)"
    r"|[,，]?\s*\b(?:and then|and also|then|and|also|plus)\b"
    r"|[,，]?\s*(?:然后|接着|并且|以及|再|同时))\s*",
    re.IGNORECASE,
)
#: What stands between parts has one of these: looking for them takes a tenth of the time.
_SIGNS: Final = (*";；。！？.!?", "and", "then", "also", "plus", "然后", "接着", "并且", "以及", "再", "同时")
_ASCII_SIGNS: Final = tuple(sign for sign in _SIGNS if sign.isascii())
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_]+")


def split_request(text: str) -> list[str]:
    """The parts of a text that may each be a request; the text alone where it cannot be told apart.

    What stands after a colon or in quotes is material: a text that has any is never cut.
    """
    if len(text) > MAX_CHARACTERS:
        return [text]
    folded = text.casefold()
    signs = _ASCII_SIGNS if folded.isascii() else _SIGNS
    if not any(sign in folded for sign in signs) or read_request(text).material:
        return [text]
    parts = [part.strip(" ,，.。!！?？") for part in _BETWEEN.split(text)]
    parts = [part for part in parts if part]
    if not 1 < len(parts) <= MAX_PARTS or any(len(_WORD.findall(part)) < MIN_WORDS for part in parts):
        return [text]
    return parts
