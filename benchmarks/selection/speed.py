"""How long one selection and one feedback take."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.selection import figures
from benchmarks.selection.bench import Bench, first_of_each, spread
from benchmarks.selection.functions import Registered, from_labels, register
from benchmarks.selection.growth import make_up
from benchmarks.selection.intents import train_on
from benchmarks.selection.kinds import DataSet, Intents, Row
from benchmarks.selection.stopwatch import WARM_UP, Stopwatch, Timing, time_each
from dispatcher.selection.cache import SelectionCache
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.encoders import Encoder, Rows, make_encoder
from dispatcher.selection.encoders.combined import exchange, weighted_parts
from dispatcher.selection.encoders.minilm import NAMES
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.meaning import meaning_of

#: Functions of the registry that is made up where no data set has intents.
FUNCTIONS = 150
#: Examples of each function that a model with vectors learns from here: as many as a selector remembers.
EXAMPLES = 32
#: Different texts that are found in the cache again and again.
CACHED = 200


class OneByOne:
    """An encoder that works on single texts, as in use, and takes many at once from where they are kept."""

    def __init__(self, encoder: Encoder, kept: Encoder) -> None:
        self.name = encoder.name
        self.dimension = encoder.dimension
        self._encoder = encoder
        self._kept = kept

    def encode(self, texts: Sequence[str]) -> Rows:
        return (self._encoder if len(texts) == 1 else self._kept).encode(texts)

    def exchange(self, part: Encoder) -> "OneByOne":
        """The same with another encoder in the place of the one of its name."""
        return OneByOne(exchange(self._encoder, part), exchange(self._kept, part))


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What speed is measured on."""

    #: The data set's name; empty where it is made up.
    name: str
    known: Registered
    train: Sequence[Row]
    valid: Sequence[Row]
    #: Different ones, which the model did not learn from.
    texts: Sequence[str]
    feedbacks: Sequence[Feedback]


def measure_speed(bench: Bench, sets: Sequence[DataSet]) -> None:
    """Time a trained selector of the first data set with intents, or of made-up functions where there is none."""
    ground = _find_ground(sets)
    bench.note(f"  by words only, {len(ground.known.registry)} functions")
    _measure_words(bench, ground)
    for run, encoder in _encoders(bench):
        bench.note(f"  {run}: {encoder}")
        _measure_encoder(bench, ground, run, encoder)


def _measure_words(bench: Bench, ground: Ground) -> None:
    registry, count = ground.known.registry, bench.sizes.timed
    model = bench.models.get((ground.name, figures.FULL_WORDS))
    if model is None:
        model = train_on(ground.known, bench.learnt(ground.train), ground.valid, None, bench.detail)
    selector = Cascade(registry, model=model, cache=SelectionCache(0))
    _add(bench, figures.FAST_TIERS, time_each(selector.select, spread(ground.texts, count)))
    _add(bench, figures.FEEDBACK_WORDS, _time_feedbacks(selector, spread(ground.feedbacks, count)))
    selector = Cascade(registry, model=model)
    cached = list(spread(ground.texts, CACHED))
    for text in cached:
        selector.select(text)
    _add(bench, figures.CACHE_HIT, time_each(selector.select, cached * (1 + count // len(cached))))


def _measure_encoder(bench: Bench, ground: Ground, run: str, encoder: str) -> None:
    registry, count = ground.known.registry, bench.sizes.timed_encoded
    kept = bench.meaning_named(encoder)
    best = bench.meaning is not None and encoder == bench.meaning.name
    model = bench.models.get((ground.name, figures.FULL)) if best else None
    if model is None:
        few = first_of_each(ground.train, min(EXAMPLES, bench.sizes.examples))
        bench.encode((row.text for row in (*few, *ground.valid)), kept)
        model = train_on(ground.known, few, ground.valid, kept, bench.detail)
    meaning = meaning_of(OneByOne(make_encoder(encoder), kept.encoder))
    selector = Cascade(registry, meaning=meaning, model=model, cache=SelectionCache(0))
    _add(bench, run, time_each(selector.select, spread(ground.texts, count)))
    if best:
        feedbacks = spread(ground.feedbacks, count)
        _add(bench, figures.FEEDBACK, _time_feedbacks(selector, feedbacks))
        bench.encode((feedback.text for feedback in feedbacks), kept)
        selector = Cascade(registry, meaning=kept, model=model, cache=SelectionCache(0))
        _add(bench, figures.FEEDBACK_KNOWN, _time_feedbacks(selector, feedbacks))


def _encoders(bench: Bench) -> list[tuple[str, str]]:
    """The encoders that are timed, as run and name: the mixture that is used here, and MiniLM where it is in it."""
    if bench.meaning is None:
        return []
    best = bench.meaning.name
    if best in NAMES.values():
        return [(figures.WITH_MINILM, best)]
    small = [(figures.WITH_MINILM, part) for part, _ in weighted_parts(best) if part in NAMES.values()]
    return [*small[:1], (figures.WITH_ALL, best)]


def _time_feedbacks(selector: Cascade, feedbacks: Iterable[Feedback]) -> Timing:
    """Time learning alone, each after the selection that it is about."""
    watch = Stopwatch()
    for place, feedback in enumerate(feedbacks):
        selector.select(feedback.text)
        if place < WARM_UP:
            selector.learn(feedback)
        else:
            watch.time(lambda feedback=feedback: selector.learn(feedback))  # type: ignore[misc] # as in time_each
    return watch.timing()


def _add(bench: Bench, run: str, timing: Timing) -> None:
    bench.add(*timing.figures(figures.SPEED, run))


def _find_ground(sets: Sequence[DataSet]) -> Ground:
    intents = next((data for data in sets if isinstance(data, Intents)), None)
    if intents is None:
        name, (known, train, valid, test) = "", _made_up()
    else:
        name, known = intents.name, from_labels(intents.labels)
        train, valid, test = intents.train, intents.valid, intents.test
    return Ground(
        name=name,
        known=known,
        train=train,
        valid=valid,
        texts=list(dict.fromkeys(row.text for row in test)),
        feedbacks=[
            Feedback(text=row.text, verdict=Verdict.RIGHT, function=known.names[row.label])
            for row in test
            if row.label is not None
        ],
    )


def _made_up() -> tuple[Registered, Sequence[Row], Sequence[Row], Sequence[Row]]:
    """Made-up functions with a few made-up examples, for training, validation and test."""
    specs, texts = make_up(FUNCTIONS, seed=0)
    known = register(specs)
    rows = [
        [Row(text=f"{before} {text}".strip(), label=spec.name) for spec, text in zip(specs, texts, strict=True)]
        for before in ("", "hello", "now", "well then", "i need it soon", "next")
    ]
    return known, [row for part in rows[:4] for row in part], rows[4], rows[5]
