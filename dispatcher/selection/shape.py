"""What a call would need, and whether the text has it: numbers, dates, and the words that parameters choose between.

"area of a triangle, base 10, height 5" fits a function of two numbers better than one of none. The evidence is weak:
arguments may come later, from elsewhere. It decides between functions that are otherwise alike.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np

from dispatcher.selection.card import Card
from dispatcher.selection.loss import Floats
from dispatcher.selection.words import normalise

#: What it costs to lack all numbers that a function requires, and to name numbers that a function does not take.
MISSING: Final = 2.0
UNUSED: Final = 1.0
#: What it is worth to name one of a parameter's choices.
CHOICE: Final = 1.5
#: What it is worth to take a date where the text says one.
DATE: Final = 1.0

_NUMBER = re.compile(
    r"\d+(?:[.,]\d+)*|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|hundred|thousand|million)\b|[一二三四五六七八九十百千万]+"
)
_MONTH: Final = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)"
)
_DATE = re.compile(
    rf"\b(?:\d{{4}}-\d\d?-\d\d?|\d\d?[/.]\d\d?[/.]\d{{2,4}}|{_MONTH}\.? \d\d?(?:st|nd|rd|th)?"
    rf"|\d\d?(?:st|nd|rd|th)? (?:of )?{_MONTH}|today|tonight|tomorrow|yesterday"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b|\d月\d|[今明昨后]天|星期[一二三四五六日天]"
)
#: Words of a choice at most: they are looked up by their first ones.
_WORDS: Final = 3


class Shape:
    """The numbers, dates and choices of a set of functions."""

    def __init__(self, cards: Sequence[Card]) -> None:
        self._required = np.array([card.numbers for card in cards], dtype=np.float32)
        self._idle = np.array([bool(card.parameters) and not card.takes_numbers for card in cards], dtype=np.float32)
        self._dated = np.array([card.takes_dates for card in cards], dtype=np.float32)
        self._size = len(cards)
        self._matters = bool(self._required.any() or self._idle.any())
        self._dates_matter = bool(self._dated.any()) and not self._dated.all()
        holders: defaultdict[str, set[int]] = defaultdict(set)
        for position, card in enumerate(cards):
            for choice in card.choices:
                holders[normalise(choice)].add(position)
        # A word that a tenth of the functions choose is said for other reasons.
        self._choices = {word: sorted(held) for word, held in holders.items() if len(held) <= max(3, len(cards) // 10)}
        #: Whether no text can speak for or against any function.
        self.is_silent = not (self._matters or self._dates_matter or self._choices)

    def scores(self, text: str) -> Floats:
        """Shape (functions,); 0 where nothing speaks for or against.

        Args:
            text: normalised.
        """
        if self._matters:
            numbers = len(_NUMBER.findall(text))
            lacking = np.maximum(self._required - np.float32(numbers), 0) / np.maximum(self._required, 1)
            scores = lacking * np.float32(-MISSING)
            if numbers:
                scores -= self._idle * np.float32(UNUSED)
        else:
            scores = np.zeros(self._size, dtype=np.float32)
        if self._dates_matter and _DATE.search(text):
            scores += self._dated * np.float32(DATE)
        if self._choices:
            words = text.split()
            for begin in range(len(words)):
                for end in range(begin + 1, min(begin + _WORDS, len(words)) + 1):
                    held = self._choices.get(" ".join(words[begin:end]).strip(".,;:?!\"'"))
                    if held is not None:
                        scores[held] = np.maximum(scores[held], 0) + np.float32(CHOICE)
        return np.asarray(scores, dtype=np.float32)
