"""One text, as the tiers of a snapshot read it: each part is worked out when it is first asked for, and then kept."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from dispatcher.selection.bayes import states_of
from dispatcher.selection.features import MAX_CHARACTERS, buckets, tokens
from dispatcher.selection.languages import STRANGE, is_strange, words_of
from dispatcher.selection.lexical import MAX_TERM_CHARACTERS, terms
from dispatcher.selection.loss import Floats
from dispatcher.selection.network import LENGTH
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.softmax import Read
from dispatcher.selection.sums import Sum
from dispatcher.selection.words import Request, is_foreign, read_request, without_latin

if TYPE_CHECKING:
    from dispatcher.selection.snapshot import Snapshot

T = TypeVar("T")


class lazily(Generic[T]):  # noqa: N801 - a decorator
    """As `functools.cached_property`, which takes a lock each time in Python 3.11: a microsecond, ten times a text."""

    def __init__(self, work: Callable[..., T]) -> None:
        self._work = work
        self._name = work.__name__
        self.__doc__ = work.__doc__

    def __get__(self, owner: object, kind: type | None = None) -> T:
        value = owner.__dict__[self._name] = self._work(owner)
        return value


class Reading:
    """A text, read as far as any tier has needed to yet."""

    def __init__(self, text: str, state: ConversationState | None, snapshot: "Snapshot") -> None:
        self.text = text
        self.state = state
        self._snapshot = snapshot

    @lazily
    def request(self) -> Request:
        return read_request(self.text)

    @lazily
    def whole(self) -> str:
        """Normalised, with nothing told apart."""
        return self.request.whole.instruction

    @lazily
    def terms(self) -> list[str]:
        return terms(self.text[:MAX_TERM_CHARACTERS])

    @lazily
    def lexical(self) -> tuple[Floats, float]:
        """What its terms say of each function, and the most that they could say of one."""
        # Where words are written together (`countWords`), or a text is long, terms are not its tokens.
        if len(self.text) <= MAX_CHARACTERS and self.text[1:].islower() and self.sum.terms is not None:
            return self.sum.terms
        lexicon = self._snapshot.lexicon
        return lexicon.scores(self.terms), lexicon.most(self.terms)

    @lazily
    def tokens(self) -> list[str]:
        return tokens(self.text)

    @lazily
    def sum(self) -> Sum:
        """What its n-grams add up to."""
        return self._snapshot.add_up(self.tokens)

    @lazily
    def ngrams(self) -> Read:
        return self.sum.read()

    @property
    def met(self) -> float:
        """The share of its n-grams, by idf, that were met before."""
        return self.sum.met

    @lazily
    def familiar(self) -> float:
        """How much the tiers that count words should say: less where they know fewer than half of them."""
        return self.language if self.foreign else min(1.0, 2 * self.met)

    @lazily
    def foreign(self) -> bool:
        """Whether it is in another script or language than the examples, and there is an encoder that reads it."""
        embedding = self._snapshot.embedding
        if embedding is None or not embedding.meaning.crosses_languages:
            return False
        return embedding.meaning.is_foreign(self.text) or self._strange

    @property
    def _strange(self) -> bool:
        """Whether it is in another language in Latin letters; the stranger its words, the more of them may be met."""
        least, words = max(STRANGE, self.met), words_of(self.text)
        # What was learnt from is looked through for its languages only once there is a text that asks for it.
        return is_strange(words, least=least) and is_strange(words, self._snapshot.languages, least=least)

    @lazily
    def language(self) -> float:
        """How far words and past calls hold in the language that it is in: for a foreign text, as its words were met.

        In another script the Latin words are mostly names, of films, people or companies, and tell nothing of the rest.
        In Latin letters a third of all n-grams is met anyway: pairs of letters, and words that both languages have.
        """
        if not self.foreign:
            return 1.0
        if not is_foreign(self.text):
            return self.met**2
        values = self._snapshot.ngrams.read(buckets(without_latin(self.text))).values
        return min(1.0, 2 * float(values @ values))

    @property
    def heard(self) -> float:
        """How far signals that tell languages apart count: whole where the encoder for English has anything to say."""
        embedding = self._snapshot.embedding
        if embedding is None or not self.foreign or embedding.meaning.has_english(self.vector):
            return 1.0
        return self.language

    @lazily
    def vector(self) -> Floats:
        """Only where there is an encoder."""
        assert self._snapshot.embedding is not None  # noqa: S101 - its callers look first
        meaning = self._snapshot.embedding.meaning
        vector = meaning.request(self.text)
        return meaning.foreign(vector) if self.foreign and not is_foreign(self.text) else vector

    @lazily
    def neighbours(self) -> tuple[Floats, tuple[float, float]]:
        """What the remembered texts say, and how near they are; see `Neighbours.read`."""
        assert self._snapshot.neighbours is not None  # noqa: S101 - its callers look first
        return self._snapshot.neighbours.read(self.vector, self._snapshot.size, shared=self.foreign)

    @lazily
    def network(self) -> Floats:
        """The network's logits, "none of these" at the end; only where there is one."""
        assert self._snapshot.network is not None  # noqa: S101 - its callers look first
        return self._snapshot.network.logits(self.vector * np.float32(LENGTH))

    @lazily
    def latent(self) -> Floats:
        """The latent network's logits, likewise."""
        assert self._snapshot.latent is not None  # noqa: S101 - its callers look first
        if self._snapshot.softmax.is_dense:
            return self._snapshot.latent.weigh(*self.sum.tables[-2:])
        return self._snapshot.latent.logits(self.ngrams)

    @lazily
    def states(self) -> tuple[str, ...]:
        return states_of(self.state)
