"""What all parts of the benchmark share: the encoder, how much to measure, and where the figures go."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.selection.figures import Figure
from benchmarks.selection.kinds import Row
from dispatcher.clock import Clock
from dispatcher.errors import ModelError
from dispatcher.selection.encoders import CachedEncoder, CombinedEncoder, Encoder, e5, find_encoders, make_encoder
from dispatcher.selection.encoders.combined import weighted_parts
from dispatcher.selection.meaning import Meaning, default_name, full_name, meaning_of
from dispatcher.selection.model import Model

#: Texts that are encoded at once.
_BATCH = 512
#: Progress inside a step is told so often.
_TELL_SECONDS = 10

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How much is measured."""

    #: Examples of each function that are learnt from at most.
    examples: int = 1_000_000
    #: One of so many texts is asked.
    every: int = 1
    #: Rows of one course of online learning at most.
    online: int = 8_000
    #: Calls that are timed by words, and with an encoder.
    timed: int = 2_000
    timed_encoded: int = 400


#: What `--quick` measures.
QUICK = Sizes(examples=20, every=5, online=1_500, timed=500, timed_encoded=100)


@dataclass(kw_only=True)
class Bench:
    """One run of the benchmark."""

    sizes: Sizes
    #: Where vectors are kept.
    vectors: Path
    #: The sentence encoder, as `load_meaning` takes it; None for the best mixture but e5.
    wanted: str | None = None
    clock: Clock
    #: Told what begins.
    note: Callable[[str], None]
    figures: list[Figure] = field(default_factory=list)
    #: What each part took, in seconds.
    seconds: dict[str, float] = field(default_factory=dict)
    #: More about each run than its figures: data for JSON, by data set and run.
    details: dict[str, dict[str, Any]] = field(default_factory=dict)

    #: Models that were trained, by data set and run.
    models: dict[tuple[str, str], Model] = field(default_factory=dict)
    #: When a small step was last told of.
    _told: float = field(default=0.0, init=False)

    # --- vectors ------------------------------------------------------------------------------------------------

    @cached_property
    def meaning(self) -> Meaning | None:
        """Sentence vectors, kept in a folder, by the encoder that is wanted; None where none is installed.

        Raises:
            ModelError: the one that is asked for is not installed.
        """
        if self.wanted is not None:
            return self.meaning_named(full_name(self.wanted))
        try:
            return self.meaning_named(default_name(without=[e5.EXTRA]))
        except ModelError as error:
            self.note(str(error))
            return None

    @cached_property
    def meaning_with_e5(self) -> Meaning | None:
        """The same with e5 beside the others: what is used by default where it is installed; None where it is not.

        None, too, where another encoder is asked for.
        """
        installed = any(offer.name == e5.NAME for offer in find_encoders())
        return self.meaning_named(default_name()) if installed and self.wanted is None else None

    def meaning_named(self, name: str) -> Meaning:
        """The sentence vectors of an encoder, kept in a folder: those of each part of a mixture by themselves.

        Raises:
            ModelError: it is not installed.
        """
        parts = [(weight, self._kept(make_encoder(part))) for part, weight in weighted_parts(name)]
        if len(parts) == 1:
            return meaning_of(parts[0][1])
        return meaning_of(CombinedEncoder([encoder for _, encoder in parts], [weight for weight, _ in parts]))

    @cached_property
    def _folders(self) -> dict[str, CachedEncoder]:
        return {}

    def _kept(self, encoder: Encoder) -> CachedEncoder:
        kept = self._folders.get(encoder.name)
        if kept is None:
            kept = self._folders[encoder.name] = CachedEncoder(encoder, self.vectors)
        return kept

    def encode(self, texts: Iterable[str], meaning: Meaning | None = None) -> None:
        """Have the vectors of texts at hand, so that what follows does not wait for them."""
        meaning = meaning if meaning is not None else self.meaning
        if meaning is None:
            return
        distinct = list(dict.fromkeys(texts))
        for start in range(0, len(distinct), _BATCH):
            if start:
                self.detail(f"encoding: {start:,} of {len(distinct):,} texts done")
            meaning.encoder.encode(distinct[start : start + _BATCH])

    @contextmanager
    def keeping_vectors(self) -> Iterator[None]:
        """Write the vectors that wait in memory at the end, however it comes."""
        try:
            yield
        finally:
            self.flush_vectors()

    def flush_vectors(self) -> None:
        """Write the vectors that wait in memory."""
        for kept in self._folders.values():
            kept.flush()

    @property
    def encoder(self) -> str:
        """The name of the encoder that figures with vectors are of."""
        return "none" if self.meaning is None else self.meaning.name

    def detail(self, text: str) -> None:
        """Tell of a small step, unless another was told of just now."""
        now = self.clock.monotonic()
        if now - self._told > _TELL_SECONDS:
            self._told = now
            self.note(f"    {text}")

    # --- sizes --------------------------------------------------------------------------------------------------

    def asked(self, rows: Sequence[T]) -> Sequence[T]:
        """The texts that are asked, of those that there are."""
        return rows[:: self.sizes.every]

    def learnt(self, rows: Iterable[Row]) -> list[Row]:
        """The examples that are learnt from: the first ones of each function."""
        return first_of_each(rows, self.sizes.examples)

    # --- figures ------------------------------------------------------------------------------------------------

    def add(self, *figures: Figure) -> None:
        self.figures.extend(figures)

    def keep(self, data: str, run: str, details: dict[str, Any]) -> None:
        """Keep more about a run than its figures."""
        self.details.setdefault(data, {})[run] = details

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part."""
        self.note(name)
        began = self.clock.monotonic()
        yield
        self.seconds[name] = self.clock.monotonic() - began


def first_of_each(rows: Iterable[Row], most: int) -> list[Row]:
    """The first rows of each label, and of those without one."""
    seen: Counter[str | None] = Counter()
    kept = []
    for row in rows:
        seen[row.label] += 1
        if seen[row.label] <= most:
            kept.append(row)
    return kept


def spread(rows: Sequence[T], most: int) -> Sequence[T]:
    """At most so many rows, from all over: files are often sorted by label."""
    return rows[:: max(1, len(rows) // most)][:most]
