"""Functions that a selector will confuse or cannot find, with the words that would tell them apart.

Two functions look alike where

- the cosine of their words is `ALIKE` or more, and not each of them has a word of its own in both its name and its
  description. The words are those of name, description and parameters, weighted by where they stand and by their rarity
  among all functions (as tf-idf does);
- their descriptions are equal;
- both give the same example, or the same words in another order;
- they were confused: an evaluation, or feedback, saw one chosen where the other was right.
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice, pairwise
from typing import Final

from dispatcher.selection.card import Card
from dispatcher.selection.telling import words_apart
from dispatcher.selection.words import name_words, normalise, words

#: Cosine from which words are alike. In two public sets of 199 and 642 tools nearly all pairs above it do one thing, or
#: one of them a special case of the other; below it, more and more do two things with one kind of object.
ALIKE: Final = 0.7

#: Part of two functions' texts that went from one to the other, and how many, from which they are confused.
_CONFUSED, _CONFUSED_TEXTS = 0.05, 2

#: How much a word of each kind says.
_NAME, _DESCRIPTION, _PARAMETER = 1.0, 0.8, 0.3

#: A word of more than this part of all functions, and of more than a few, tells nothing apart.
_COMMON, _FEW = 0.1, 3

#: Functions that are thought to be there beside the registered ones: in a registry of three, a word that two share
#: would else count as common, and no two would be alike.
_UNSEEN: Final = 20

#: Comparisons of two functions by their words, at most; some 2 µs each. Only thousands of functions written from one
#: template need more; those that share the rarest words are compared first.
_MAX_COMPARISONS: Final = 500_000

#: Pairs given, at most, unless the caller says otherwise. Nobody reads more.
MAX_PAIRS: Final = 1_000

_Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookalike:
    """Two functions that a selector would confuse."""

    #: Their names, in alphabetical order.
    first: str
    second: str
    #: From 0 to 1: 1 where a description or an example is the same.
    likeness: float
    #: In what they are alike, for a person.
    why: str
    #: Words that only the one has and few others, the most telling first; a few of them.
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()
    #: An example that both give; empty where there is none.
    example: str = ""

    @property
    def apart(self) -> tuple[str, ...]:
        """The words that would tell them apart."""
        return (*self.only_first, *self.only_second)

    @property
    def advice(self) -> str:
        """What to do, in a sentence."""
        told = [
            f"“{name}” {'speaks ' if i == 0 else ''}of {_listed(own)}"
            for i, (name, own) in enumerate(
                (name, own) for name, own in ((self.first, self.only_first), (self.second, self.only_second)) if own
            )
        ]
        if told:
            advice = f"say in both descriptions when to use which: only {', only '.join(told)}"
        else:
            advice = "no word tells them apart: say in both descriptions when to use which, or keep one of them"
        return f"give the example “{self.example}” to one of them; {advice}" if self.example else advice


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What keeps a selector, or a language model, from finding one function."""

    function: str
    problem: str
    advice: str


def find_faults(cards: Iterable[Card]) -> tuple[Fault, ...]:
    """Find functions that say too little of themselves, in alphabetical order."""
    faults = ((card.name, _fault(card)) for card in sorted(cards, key=lambda card: card.name))
    return tuple(Fault(function=name, problem=found[0], advice=found[1]) for name, found in faults if found)


def find_lookalikes(
    cards: Iterable[Card], *, confusion: Mapping[tuple[str, str], int] | None = None, most: int = MAX_PAIRS
) -> tuple[Lookalike, ...]:
    """Find pairs of functions that a selector would confuse, the most alike first.

    Where more than two have the same description, example or words, each is paired with the next only. 10,000 functions
    take some two seconds, 150 some ten milliseconds.

    Args:
        cards: of all functions, in any order.
        confusion: how many texts there were by the function that was right and the one that was chosen, each by name or
            alias. Where texts that were selected rightly are counted too, likeness is a part of all texts, else of the
            mistakes.
        most: pairs to give; those that are less alike are left out.
    """
    by_name = {card.name: card for card in cards}
    known = [by_name[name] for name in sorted(by_name)]
    vocabulary = _Vocabulary(known)
    found: defaultdict[_Pair, _Found] = defaultdict(_Found)
    for pair, likeness in vocabulary.alike():
        found[pair].add(likeness, f"their words are alike ({likeness:.0%})")
    for pair in _same_descriptions(known):
        found[pair].add(1.0, "their descriptions are the same")
    for pair, example in _same_examples(known):
        found[pair].add(1.0, f"both give the example “{example}”")
        found[pair].example = found[pair].example or example
    for pair, share, count in _confused(known, confusion or {}):
        found[pair].add(share, f"{count:,} texts of one went to the other ({share:.0%})")
    # Positions are in the order of names.
    first = heapq.nsmallest(most, found, key=lambda pair: (-found[pair].likeness, pair))
    return tuple(_lookalike(known, vocabulary, pair, found[pair]) for pair in first)


@dataclass(kw_only=True, slots=True)
class _Found:
    """What speaks for the likeness of a pair, while it is gathered."""

    likeness: float = 0.0
    whys: list[str] = field(default_factory=list)
    example: str = ""

    def add(self, likeness: float, why: str) -> None:
        self.likeness = max(self.likeness, round(likeness, 4))
        if why not in self.whys:
            self.whys.append(why)


class _Vocabulary:
    """The words of all functions: for each a vector of length 1, the rarest words first, in one order for all."""

    def __init__(self, cards: Sequence[Card]) -> None:
        self._named = [frozenset(name_words(card.name)) for card in cards]
        self._described = [frozenset(words(normalise(card.description))) for card in cards]
        self._said = [frozenset(words(_parameter_text(card))) for card in cards]
        holders = Counter(word for i in range(len(cards)) for word in self._words(i))
        rank = {word: i for i, word in enumerate(sorted(holders, key=lambda word: (holders[word], word)))}
        rarity = {word: math.log1p((len(cards) + _UNSEEN) / count) for word, count in holders.items()}
        #: Words that tell nothing apart.
        self.common = {word for word, count in holders.items() if count > max(_FEW, _COMMON * len(cards))}
        self.vectors: list[Mapping[str, float]] = []
        for i in range(len(cards)):
            weights = {
                word: self._place(i, word) * rarity[word] for word in sorted(self._words(i), key=rank.__getitem__)
            }
            length = math.hypot(*weights.values()) or 1.0
            self.vectors.append({word: weight / length for word, weight in weights.items()})

    def _words(self, i: int) -> frozenset[str]:
        return self._named[i] | self._described[i] | self._said[i]

    def _place(self, i: int, word: str) -> float:
        return _NAME if word in self._named[i] else _DESCRIPTION if word in self._described[i] else _PARAMETER

    def alike(self) -> Iterator[tuple[_Pair, float]]:
        """Pairs whose words are alike, with their cosine."""
        same: defaultdict[tuple[tuple[str, float], ...], list[int]] = defaultdict(list)
        for i, vector in enumerate(self.vectors):
            if vector:
                same[tuple(vector.items())].append(i)
        for group in same.values():
            yield from ((pair, 1.0) for pair in pairwise(group))
        for pair in islice(self._may_be_alike([group[0] for group in same.values()]), _MAX_COMPARISONS):
            likeness = self._cosine(pair)
            if likeness >= ALIKE and not self._tell_themselves_apart(pair):
                yield pair, likeness

    def _may_be_alike(self, positions: Iterable[int]) -> Iterator[_Pair]:
        """Pairs that share one of their first words; each once, those that share the rarest before others.

        Two vectors of length 1 have a cosine of t or more only if they share one of the first words of both, where the
        first are so many that the rest is shorter than t.
        Source: Bayardo, Ma and Srikant, Scaling up all pairs similarity search, WWW 2007.
        """
        holders: defaultdict[str, list[int]] = defaultdict(list)
        for i in positions:
            rest = 1.0
            for word, weight in self.vectors[i].items():
                if rest < ALIKE * ALIKE:
                    break
                holders[word].append(i)
                rest -= weight * weight
        seen: set[_Pair] = set()
        for sharing in sorted(holders.values(), key=len):
            for pair in combinations(sharing, 2):
                if pair not in seen:
                    seen.add(pair)
                    yield pair

    def _cosine(self, pair: _Pair) -> float:
        one, other = self.vectors[pair[0]], self.vectors[pair[1]]
        return min(1.0, sum([weight * other[word] for word, weight in one.items() if word in other]))

    def _tell_themselves_apart(self, pair: _Pair) -> bool:
        """Whether each has a word of its own in both its name and its description: `find_store`, `find_library`."""
        i, j = pair
        return bool(
            (self._named[i] & self._described[i]) - self._words(j)
            and (self._named[j] & self._described[j]) - self._words(i)
        )


def _lookalike(cards: Sequence[Card], vocabulary: _Vocabulary, pair: _Pair, found: _Found) -> Lookalike:
    i, j = pair
    only_first, only_second = words_apart(
        (cards[i], vocabulary.vectors[i]), (cards[j], vocabulary.vectors[j]), common=vocabulary.common
    )
    return Lookalike(
        first=cards[i].name,
        second=cards[j].name,
        likeness=found.likeness,
        why="; ".join(found.whys),
        only_first=only_first,
        only_second=only_second,
        example=found.example,
    )


def _same_descriptions(cards: Sequence[Card]) -> Iterator[_Pair]:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for i, card in enumerate(cards):
        said = normalise(card.description).rstrip(".!。")
        if any(map(str.isalnum, said)):
            groups[said].append(i)
    for same in groups.values():
        yield from pairwise(same)


def _same_examples(cards: Sequence[Card]) -> Iterator[tuple[_Pair, str]]:
    groups: defaultdict[object, dict[int, str]] = defaultdict(dict)
    for i, card in enumerate(cards):
        for example in card.examples:
            said = normalise(example)
            # An example of nothing but stop words ("what can you do?") is itself.
            groups[frozenset(words(said)) or said].setdefault(i, example)
    for same in groups.values():
        for pair in pairwise(same):
            yield pair, same[pair[0]]


def _confused(cards: Sequence[Card], confusion: Mapping[tuple[str, str], int]) -> Iterator[tuple[_Pair, float, int]]:
    places = {name: i for i, card in enumerate(cards) for name in card.names}
    texts: Counter[int] = Counter()
    mistaken: Counter[_Pair] = Counter()
    for (right, chosen), count in confusion.items():
        one, other = places.get(right), places.get(chosen)
        if one is not None:
            texts[one] += count
            if other is not None and other != one:
                mistaken[min(one, other), max(one, other)] += count
    for pair, count in mistaken.items():
        share = count / (texts[pair[0]] + texts[pair[1]]) if count >= _CONFUSED_TEXTS else 0.0
        if share >= _CONFUSED:
            yield pair, share, count


def _fault(card: Card) -> tuple[str, str] | None:
    if not card.description.strip():
        if card.examples:
            return "it has no description", "language models choose by it: write a docstring"
        return (
            "it has neither description nor example",
            "no text finds it but its name: write a docstring, or examples=…",
        )
    named = (name_words(card.name), name_words(card.name.rpartition(".")[2]))
    if words(normalise(card.description)) in named:
        return "its description is its name over again", "say what it does, with what, and when to use it"
    return None


def _parameter_text(card: Card) -> str:
    return normalise(" ".join(f"{name.replace('_', ' ')} {description}" for name, description in card.parameters))


def _listed(own: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(own[:-1]), own[-1])))
