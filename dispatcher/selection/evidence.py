"""What the functions themselves say about when they are meant: their names, tags, descriptions and examples."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from dispatcher.selection.card import Card
from dispatcher.selection.words import name_words, normalise, read_request, words

#: How much a word of each kind says. A name was chosen to tell functions apart; a description says much beside that.
_NAME, _TAG, _DESCRIPTION = 1.0, 0.7, 0.4
#: In two examples or more a word belongs to the function; in a single one it may be chance ("… to call the dentist").
_EXAMPLES, _EXAMPLE = 0.7, 0.4


@dataclass(kw_only=True, slots=True)
class Evidence:
    """What speaks for one function, gathered while one text is read. Not kept afterwards."""

    #: Sum over the shared words: rarity (0 to 1) times what a word of its kind says.
    words: float = 0.0
    #: The shared words, the strongest first once `why` sorts them.
    shared: dict[str, float] = field(default_factory=dict)
    #: Likeness to the nearest example, 0 to 1.
    likeness: float = 0.0
    example: str = ""

    def score(self, word_weight: float, example_weight: float) -> float:
        """Words count ever less, the more of them there are; half a match with an example is mostly chance."""
        return word_weight * (1 - math.exp(-self.words)) + example_weight * self.likeness**2

    @property
    def why(self) -> str:
        """What was found, in a few words."""
        parts = []
        if self.shared:
            strongest = sorted(self.shared, key=lambda word: -self.shared[word])[:4]
            parts.append("words: " + ", ".join(strongest))
        if self.likeness >= 0.3:  # noqa: PLR2004 - below this the example would puzzle more than explain
            parts.append(f"like “{self.example}”")
        return "; ".join(parts)


class Index:
    """Words and examples of a set of functions, turned round: reading a text costs no more than its own words."""

    def __init__(self, cards: Sequence[Card]) -> None:
        self._postings: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        self._examples: list[tuple[int, str, float]] = []
        self._example_postings: defaultdict[str, list[int]] = defaultdict(list)
        for position, card in enumerate(cards):
            for word, weight in _vocabulary(card).items():
                self._postings[word].append((position, weight))
        self._whole: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        self._log_size = math.log(len(cards) + 1) or 1.0
        for position, card in enumerate(cards):
            for example in card.examples:
                self._add_example(position, example)

    def _add_example(self, position: int, example: str) -> None:
        self._whole[_plain(normalise(example))].append((position, example))
        found = frozenset(_asked(example))
        self._examples.append((position, example, sum(map(self._rarity, found))))
        for word in found:
            self._example_postings[word].append(len(self._examples) - 1)

    def _rarity(self, word: str) -> float:
        """1 for a word of at most one function, falling to nearly 0 for a word of all of them."""
        holders = len(self._postings.get(word, ()))
        return 1.0 - math.log(holders) / self._log_size if holders else 1.0

    def whole_example(self, text: str, among: Container[int]) -> tuple[int, str] | None:
        """The first of these functions, and its example, that a normalised text is, but for punctuation."""
        return next((found for found in self._whole.get(_plain(text), ()) if found[0] in among), None)

    def knows(self, found: Iterable[str], among: Container[int]) -> bool:
        """Whether any of these words belongs to one of these functions."""
        return any(position in among for word in found for position, _ in self._postings.get(word, ()))

    def read(
        self, instruction: Iterable[str], material: Iterable[str], material_weight: float, among: Container[int]
    ) -> dict[int, Evidence]:
        """Gather the evidence for each of these functions that shares a word with the text, by its position."""
        asked = dict.fromkeys(instruction, 1.0)
        about = {word: material_weight for word in material if word not in asked}
        found: defaultdict[int, Evidence] = defaultdict(Evidence)
        for word, share in (asked | about).items():
            for position, weight in self._postings.get(word, ()):
                worth = self._rarity(word) * weight * share
                if position in among:
                    found[position].words += worth
                    found[position].shared[word] = worth
        self._read_examples(asked, found, among)
        return dict(found)

    def _read_examples(self, asked: Iterable[str], found: defaultdict[int, Evidence], among: Container[int]) -> None:
        for number, likeness in self._compare(asked):
            position, example, _ = self._examples[number]
            if position in among and likeness > found[position].likeness:
                found[position].likeness, found[position].example = likeness, example

    def likenesses(self, asked: Iterable[str]) -> dict[int, float]:
        """The likeness of each function's nearest example, by position, of those that share a word with the text."""
        found: defaultdict[int, float] = defaultdict(float)
        for number, likeness in self._compare(asked):
            position = self._examples[number][0]
            found[position] = max(found[position], likeness)
        return found

    def _compare(self, asked: Iterable[str]) -> Iterator[tuple[int, float]]:
        """The number of each example that shares a word, and its likeness.

        It is Dice's: twice the rarity that both share, by the rarity that each has.
        """
        asked = list(asked)
        own = sum(map(self._rarity, asked))
        shared: defaultdict[int, float] = defaultdict(float)
        for word in asked:
            for number in self._example_postings.get(word, ()):
                shared[number] += self._rarity(word)
        for number, both in shared.items():
            yield number, 2 * both / (own + self._examples[number][2])


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text))


def _asked(example: str) -> tuple[str, ...]:
    """The words of an example that ask; what it asks about ("count the words: to be or not to be") is chance."""
    return words(read_request(example).instruction)


def _vocabulary(card: Card) -> dict[str, float]:
    """The function's words, each with the weight of the best place it stands in."""
    in_examples = Counter(word for example in card.examples for word in set(_asked(example)))
    summary = card.description.strip().split("\n\n")[0]
    places = (
        (_DESCRIPTION, words(normalise(summary))),
        (_EXAMPLE, list(in_examples)),
        (_EXAMPLES, [word for word, examples in in_examples.items() if examples > 1]),
        (_TAG, [word for tag in card.tags for word in name_words(tag)]),
        (_NAME, name_words(card.name)),
    )
    vocabulary: dict[str, float] = {}
    for weight, found in places:
        for word in found:
            vocabulary[word] = max(weight, vocabulary.get(word, 0.0))
    return vocabulary
