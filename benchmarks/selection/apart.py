"""Times a trained selector in a process of its own, as a producer has it: it loads the model, and has trained nothing.

In a process that trained, the same selections take a tenth longer: what Python has at hand lies about in more memory.
"""

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.selection import figures
from benchmarks.selection.bench import Bench, Sizes, spread
from benchmarks.selection.functions import register
from benchmarks.selection.kinds import Spec
from benchmarks.selection.stopwatch import WARM_UP, Stopwatch, Timing, time_each
from dispatcher.clock import SystemClock
from dispatcher.errors import ModelError
from dispatcher.registry.registry import Registry
from dispatcher.selection.cache import SelectionCache
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.encoders import Encoder, Rows, make_encoder
from dispatcher.selection.encoders.combined import exchange
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.meaning import meaning_of
from dispatcher.selection.model import Model
from dispatcher.selection.stored import dump_model, load_model

#: Different texts that are found in the cache again and again.
CACHED: Final = 200
#: Processes whose start is timed, and the option for it.
_STARTS: Final = 3
_BEGIN: Final = "--begin"
#: The folder that `benchmarks` is in.
_ROOT: Final = Path(__file__).parents[2]


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
class Asked:
    """What a selector is asked and told while it is timed; data for JSON."""

    specs: Sequence[Spec]
    #: Different ones, which the model did not learn from.
    texts: Sequence[str]
    #: Texts, and the spec's name of the function that each asks for.
    told: Sequence[tuple[str, str]]
    #: How many selections are timed, and how many feedbacks.
    count: int
    #: Its name, and the name of what its selections are timed as; None for words alone.
    encoder: tuple[str, str] | None = None
    #: Whether feedback is timed with an encoder too.
    learns: bool = True


def time_apart(bench: Bench, asked: Asked, model: Model) -> Mapping[str, Timing]:
    """The time of selections and feedbacks, by run.

    Raises:
        ModelError: the process that times them failed; it has said why.
    """
    bench.flush_vectors()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "timed.model"
        path.write_bytes(dump_model(model.store(bench.clock.now())))
        timings = _run(bench, asked, path)
        if asked.encoder is not None and asked.learns:
            starts = [_run(bench, asked, path, _BEGIN)[figures.START] for _ in range(_STARTS)]
            timings[figures.START] = sorted(starts, key=lambda timing: timing.p50)[_STARTS // 2]
    return timings


def _run(bench: Bench, asked: Asked, path: Path, *options: str) -> dict[str, Timing]:
    done = subprocess.run(  # noqa: S603 - this module
        [sys.executable, "-m", __name__, str(path), str(bench.vectors.resolve()), *options],
        input=json.dumps(asdict(asked)),
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        check=False,
    )
    if done.returncode:
        msg = f"the process that times selections ended with {done.returncode}"
        raise ModelError(msg)
    return {run: Timing(**timing) for run, timing in json.loads(done.stdout).items()}


def main(model_file: Path, vectors: Path, *, begin: bool) -> None:
    """The process: what is asked comes as JSON on standard input, the timings go as JSON to standard output.

    Args:
        model_file: what `dump_model` gave.
        vectors: where those of encoders are kept.
        begin: time the first selection, and no other.
    """
    logging.getLogger("dispatcher").setLevel(logging.ERROR)
    data = json.load(sys.stdin)
    asked = Asked(**data | {"specs": [Spec(**spec) for spec in data["specs"]]})
    bench = Bench(sizes=Sizes(), vectors=vectors, clock=SystemClock(), note=lambda _: None)
    known = register(asked.specs)
    feedbacks = [Feedback(text=text, verdict=Verdict.RIGHT, function=known.names[name]) for text, name in asked.told]
    if begin:
        json.dump({figures.START: asdict(_time_start(model_file, known.registry, asked))}, sys.stdout)
        return
    model = Model.load(load_model(model_file.read_bytes()))
    if asked.encoder is None:
        timings = _time_words(known.registry, model, asked, feedbacks)
    else:
        with bench.keeping_vectors():
            timings = _time_encoder(bench, known.registry, model, asked, feedbacks)
    json.dump({run: asdict(timing) for run, timing in timings.items()}, sys.stdout)


def _time_start(model_file: Path, registry: Registry, asked: Asked) -> Timing:
    """Time what a producer's first selection waits for: the model, the encoders, and what these say of functions."""
    assert asked.encoder is not None  # noqa: S101 - looked at before
    encoder, _ = asked.encoder

    def start() -> None:
        model = Model.load(load_model(model_file.read_bytes()))
        Cascade(registry, meaning=meaning_of(make_encoder(encoder)), model=model).select(asked.texts[0])

    watch = Stopwatch()
    watch.time(start)
    return watch.timing()


def _time_words(registry: Registry, model: Model, asked: Asked, feedbacks: Sequence[Feedback]) -> Mapping[str, Timing]:
    selector = Cascade(registry, model=model, cache=SelectionCache(0))
    selections = time_each(selector.select, spread(asked.texts, asked.count))
    learning = _time_feedbacks(selector, spread(feedbacks, asked.count))
    selector = Cascade(registry, model=model)
    cached = list(spread(asked.texts, CACHED))
    for text in cached:
        selector.select(text)
    hits = time_each(selector.select, cached * (1 + asked.count // len(cached)))
    return {figures.FAST_TIERS: selections, figures.FEEDBACK_WORDS: learning, figures.CACHE_HIT: hits}


def _time_encoder(
    bench: Bench, registry: Registry, model: Model, asked: Asked, feedbacks: Sequence[Feedback]
) -> dict[str, Timing]:
    assert asked.encoder is not None  # noqa: S101 - looked at before
    encoder, run = asked.encoder
    kept = bench.meaning_named(encoder)
    meaning = meaning_of(OneByOne(make_encoder(encoder), kept.encoder))
    selector = Cascade(registry, meaning=meaning, model=model, cache=SelectionCache(0))
    timings = {run: time_each(selector.select, spread(asked.texts, asked.count))}
    if asked.learns:
        told = list(spread(feedbacks, asked.count))
        timings[figures.FEEDBACK] = _time_feedbacks(selector, told)
        bench.encode((feedback.text for feedback in told), kept)
        selector = Cascade(registry, meaning=kept, model=model, cache=SelectionCache(0))
        timings[figures.FEEDBACK_KNOWN] = _time_feedbacks(selector, told)
    return timings


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


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), begin=_BEGIN in sys.argv)
