"""How long one selection and one feedback take."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.selection import figures
from benchmarks.selection.apart import Asked, time_apart
from benchmarks.selection.bench import Bench, first_of_each
from benchmarks.selection.functions import Registered, register, specs_of
from benchmarks.selection.growth import make_up
from benchmarks.selection.intents import train_on
from benchmarks.selection.kinds import DataSet, Intents, Row, Spec
from dispatcher.selection.encoders.combined import weighted_parts
from dispatcher.selection.encoders.minilm import NAMES
from dispatcher.selection.model import Model

#: Functions of the registry that is made up where no data set has intents.
FUNCTIONS = 150
#: Examples of each function that a model with vectors learns from here: as many as a selector remembers.
EXAMPLES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What speed is measured on."""

    #: The data set's name; empty where it is made up.
    name: str
    specs: Sequence[Spec]
    known: Registered
    train: Sequence[Row]
    valid: Sequence[Row]
    test: Sequence[Row]


def measure_speed(bench: Bench, sets: Sequence[DataSet]) -> None:
    """Time a trained selector of the first data set with intents, or of made-up functions where there is none."""
    ground = _find_ground(sets)
    bench.note(f"  by words only, {len(ground.known.registry)} functions")
    _measure_words(bench, ground)
    for run, encoder in _encoders(bench):
        bench.note(f"  {run}: {encoder}")
        _measure_encoder(bench, ground, run, encoder)


def _measure_words(bench: Bench, ground: Ground) -> None:
    model = bench.models.get((ground.name, figures.FULL_WORDS))
    if model is None:
        model = train_on(ground.known, bench.learnt(ground.train), ground.valid, None, bench.detail)
    _measure(bench, _asked(ground, bench.sizes.timed), model)


def _measure_encoder(bench: Bench, ground: Ground, run: str, encoder: str) -> None:
    kept = bench.meaning_named(encoder)
    best = bench.meaning is not None and encoder == bench.meaning.name
    model = bench.models.get((ground.name, figures.FULL)) if best else None
    if model is None:
        few = first_of_each(ground.train, min(EXAMPLES, bench.sizes.examples))
        bench.encode((row.text for row in (*few, *ground.valid)), kept)
        model = train_on(ground.known, few, ground.valid, kept, bench.detail)
    asked = _asked(ground, bench.sizes.timed_encoded, encoder=(encoder, run), learns=best)
    _measure(bench, asked, model)


def _asked(ground: Ground, count: int, *, encoder: tuple[str, str] | None = None, learns: bool = True) -> Asked:
    return Asked(
        specs=ground.specs,
        texts=list(dict.fromkeys(row.text for row in ground.test)),
        told=[(row.text, row.label) for row in ground.test if row.label is not None],
        count=count,
        encoder=encoder,
        learns=learns,
    )


def _measure(bench: Bench, asked: Asked, model: Model) -> None:
    for run, timing in time_apart(bench, asked, model).items():
        bench.add(*timing.figures(figures.SPEED, run))


def _encoders(bench: Bench) -> list[tuple[str, str]]:
    """The encoders that are timed, as run and name: the mixture that is used here, and MiniLM where it is in it."""
    if bench.meaning is None:
        return []
    best = bench.meaning.name
    if best in NAMES.values():
        return [(figures.WITH_MINILM, best)]
    small = [(figures.WITH_MINILM, part) for part, _ in weighted_parts(best) if part in NAMES.values()]
    return [*small[:1], (figures.WITH_ALL, best)]


def _find_ground(sets: Sequence[DataSet]) -> Ground:
    intents = next((data for data in sets if isinstance(data, Intents)), None)
    if intents is None:
        return _made_up()
    specs = specs_of(intents.labels)
    return Ground(
        name=intents.name,
        specs=specs,
        known=register(specs),
        train=intents.train,
        valid=intents.valid,
        test=intents.test,
    )


def _made_up() -> Ground:
    """Made-up functions with a few made-up examples, for training, validation and test."""
    specs, texts = make_up(FUNCTIONS, seed=0)
    rows = [
        [Row(text=f"{before} {text}".strip(), label=spec.name) for spec, text in zip(specs, texts, strict=True)]
        for before in ("", "hello", "now", "well then", "i need it soon", "next")
    ]
    train = [row for part in rows[:4] for row in part]
    return Ground(name="", specs=specs, known=register(specs), train=train, valid=rows[4], test=rows[5])
