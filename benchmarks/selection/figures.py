"""What is measured, and what was promised of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.values import Target, Unit
from dispatcher.selection.measures import Share


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One number."""

    #: The data set's name; `SPEED` and `GROWTH` for what is measured on none.
    data: str
    #: Which run of it.
    run: str
    measure: str
    #: None where nothing could be measured.
    value: float | None
    unit: Unit
    #: Of how many texts; 0 where it is of none.
    rows: int = 0
    #: Where the true value lies with a confidence of 95 %; None where that is not known.
    interval: tuple[float, float] | None = None

    @property
    def target(self) -> Target | None:
        """What was promised; None of other data than was promised about."""
        return TARGETS.get((self.data, self.run, self.measure))

    @property
    def reached(self) -> bool | None:
        """Whether what was promised is kept; None where nothing was."""
        return None if self.target is None or self.value is None else self.target.reached_by(self.value)


def share_figure(data: str, run: str, measure: str, share: Share) -> Figure:
    """A share of rows as a figure."""
    interval = share.interval if share.rows else None
    value = share.value
    return Figure(data=data, run=run, measure=measure, value=value, unit=Unit.SHARE, rows=share.rows, interval=interval)


# --- runs and measures ------------------------------------------------------------------------------------------

FULL: Final = "full, with vectors"
FULL_WORDS: Final = "full, by words only"
DESCRIPTIONS: Final = "descriptions only, with vectors"
DESCRIPTIONS_WORDS: Final = "descriptions only, by words only"
TOLD: Final = "online, told the right one"
RIGHT_OR_WRONG: Final = "online, told right or wrong"
TOLD_WORDS: Final = "online by words, told the right one"
OFFERED: Final = "only the offered functions"
SPEED: Final = "speed"
GROWTH: Final = "growth"

ACCURACY: Final = "in scope: first is right"
KEPT: Final = "in scope: not abstained and first is right"
REFUSED: Final = "out of scope: abstained"
ASKED_INSIDE: Final = "in scope: asked"
ASKED_OUTSIDE: Final = "out of scope: asked"
AUROC: Final = "AUROC, in scope or not"
ECE: Final = "calibration error (15 bins)"
FIRST: Final = "first is right"
AMONG_5: Final = "right among five"
AMONG_10: Final = "right among ten"
#: Each before it is learnt.
LAST: Final = "last 1,000: first is right"
BEHIND: Final = "behind being told the right one"
LEARN: Final = "time of one feedback, p50"


def few(examples: int) -> str:
    """The run that learns from so many examples of each intent."""
    return f"{examples} examples of each, with vectors"


def few_alone(examples: int) -> str:
    """The same without a validation set."""
    return f"{examples} examples of each and no others"


def crossed(language: str) -> str:
    """The run that is tested in a language that was not learnt from."""
    return f"tested in {language}"


def beside_e5(run: str) -> str:
    """The same run with the extra `embedding-e5` beside the others."""
    return f"{run}, with e5"


FAST_TIERS: Final = "by words only"
WITH_MINILM: Final = "with MiniLM"
WITH_ALL: Final = "with all encoders"
CACHE_HIT: Final = "cache hit"
FEEDBACK_WORDS: Final = "one feedback, by words only"
FEEDBACK_KNOWN: Final = "one feedback, vector known"
FEEDBACK: Final = "one feedback, with all encoders"
START: Final = "first selection of a process, with all encoders"
P50, P95, CPU_P50 = "p50", "p95", "p50 of CPU time"
MANY: Final = "10,000 functions, by words only"
MEMORY: Final = "memory of the selector"
MEMORY_REGISTRY: Final = "memory of the registry"
FOUND: Final = "asked for in other words: first is right"

_MILLISECOND: Final = 1e-3
_MICROSECOND: Final = 1e-6
_MEGABYTE: Final = 1e6

#: What was promised, by data set, run and measure. Data that nothing was promised about is measured all the same.
TARGETS: Final[Mapping[tuple[str, str, str], Target]] = {
    ("clinc150", FULL, ACCURACY): Target(at_least=0.965, baseline="95.5 %"),
    ("clinc150", FULL, KEPT): Target(at_least=0.95, baseline="94.6 %"),
    ("clinc150", FULL, REFUSED): Target(at_least=0.85, baseline="76.9 %"),
    ("clinc150", FULL, AUROC): Target(at_least=0.985, baseline="97.8 %"),
    ("clinc150", FULL, ECE): Target(at_most=0.02, baseline="0.02 to 0.04"),
    ("clinc150", FULL_WORDS, ACCURACY): Target(at_least=0.93, baseline="91.0 % (published SVM)"),
    ("clinc150", FULL_WORDS, KEPT): Target(at_least=0.90),
    ("clinc150", FULL_WORDS, REFUSED): Target(at_least=0.70, baseline="14.5 % (published SVM)"),
    ("clinc150", FULL_WORDS, AUROC): Target(at_least=0.955),
    ("clinc150", FULL_WORDS, ECE): Target(at_most=0.02, baseline="0.02 to 0.04"),
    ("hwu64", FULL, ACCURACY): Target(at_least=0.925, baseline="91.3 %"),
    ("hwu64", FULL, ECE): Target(at_most=0.02, baseline="0.02 to 0.04"),
    ("hwu64", few(10), ACCURACY): Target(at_least=0.865, baseline="83.4 %"),
    ("hwu64", few(10), ECE): Target(at_most=0.05, baseline="0.2"),
    ("xsid", crossed("zh"), ACCURACY): Target(at_least=0.92, baseline="89.2 %"),
    ("metatool", DESCRIPTIONS, FIRST): Target(at_least=0.60, baseline="51 %"),
    ("metatool", DESCRIPTIONS, AMONG_5): Target(at_least=0.82, baseline="74 %"),
    ("metatool", TOLD, LAST): Target(at_least=0.80, baseline="about 70 %"),
    ("metatool", RIGHT_OR_WRONG, BEHIND): Target(at_most=0.02),
    ("bfcl", DESCRIPTIONS, FIRST): Target(at_least=0.82, baseline="77 % (of 1,287 functions)"),
    ("bfcl", DESCRIPTIONS, AMONG_5): Target(at_least=0.97, baseline="95 % (of 1,287 functions)"),
    ("bfcl", DESCRIPTIONS, AMONG_10): Target(at_least=0.99),
    ("bfcl", OFFERED, FIRST): Target(at_least=0.995, baseline="99.0 %"),
    (SPEED, FAST_TIERS, P50): Target(at_most=0.15 * _MILLISECOND, baseline="0.2 ms"),
    (SPEED, WITH_MINILM, P50): Target(at_most=6 * _MILLISECOND, baseline="6.5 ms"),
    (SPEED, CACHE_HIT, P50): Target(at_most=10 * _MICROSECOND),
    (SPEED, FEEDBACK_WORDS, P50): Target(at_most=0.1 * _MILLISECOND, baseline="0.06 to 0.13 ms"),
    (SPEED, FEEDBACK, P50): Target(at_most=0.1 * _MILLISECOND, baseline="0.06 to 0.13 ms"),
    (GROWTH, MANY, P50): Target(at_most=2 * _MILLISECOND),
    (GROWTH, MANY, MEMORY): Target(at_most=300 * _MEGABYTE),
}
