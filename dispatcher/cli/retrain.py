"""One training: gather, train, compare, and perhaps promote. What `dispatcher train` does once or again and again."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar

from dispatcher.cli.command import CommandError
from dispatcher.cli.model_places import ModelPlace
from dispatcher.errors import ModelError
from dispatcher.registry.registry import Registry
from dispatcher.selection.evaluation import Labelled
from dispatcher.selection.example import Example
from dispatcher.selection.feedback import Feedback, FeedbackLog
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.model import Model
from dispatcher.selection.retraining import Challenger, Score, challenge_fairly, rate
from dispatcher.selection.rules import KeywordRule

T = TypeVar("T")

#: Entries of the log that are read at once.
CHUNK: Final = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What is to be learnt from, and how."""

    registry: Registry
    #: What speaks for a function beside its own words.
    rules: Sequence[KeywordRule]
    rows: Sequence[Labelled]
    validation: Sequence[Example]
    #: Loads the sentence encoder; None where none is to be used.
    meaning: Callable[[], Meaning | None]
    #: Only say how it would end.
    dry_run: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a training ended."""

    challenger: Challenger
    #: The version in use; None where there was none, and the challenger was compared with the untrained selector.
    champion: str | None
    before: Score
    #: The version that the challenger was saved under; None where it was not.
    version: str | None

    @property
    def better(self) -> bool:
        return self.challenger.score.beats(self.before)


class AlreadyTrainingError(CommandError):
    """Somebody else trains in this namespace."""

    code = "training"


async def retrain(asked: Asked, place: ModelPlace, now: datetime, progress: Callable[[str], None]) -> Ended:
    """Train once; one at a time where the models are on a server. A dry run writes nothing there, and waits for nobody.

    Raises:
        AlreadyTrainingError: somebody else is at it.
        ModelError: there is too little to learn from, or the model cannot be stored.
        ServerError: the server cannot be asked.
    """
    if place.lock is None or asked.dry_run:
        return await _retrain(asked, place, now, progress)
    async with place.lock.held() as taken:
        if not taken:
            msg = f"another trainer is at work on {place.name}; nothing was done"
            raise AlreadyTrainingError(msg)
        return await _retrain(asked, place, now, progress)


async def _retrain(asked: Asked, place: ModelPlace, now: datetime, progress: Callable[[str], None]) -> Ended:
    progress("reading what was said")
    feedback, position = ([], "") if place.log is None else await _read(place.log)
    champion, model_before = await _champion(place, progress)

    def work(step: Callable[[str], None]) -> tuple[Challenger, Score]:
        step("loading the sentence encoder")
        meaning = asked.meaning()
        made = challenge_fairly(
            asked.registry,
            asked.rows,
            feedback,
            model_before,
            rules=asked.rules,
            validation=asked.validation,
            meaning=meaning,
            progress=step,
        )
        step("judging the one before")
        return made, rate(asked.registry, model_before, made.gathered.held_out, rules=asked.rules, meaning=meaning)

    challenger, before = await _on_thread(work, progress)
    ended = Ended(challenger=challenger, champion=champion, before=before, version=None)
    if asked.dry_run or not ended.better:
        # What is not better is not kept: it would take the place of a model to roll back to.
        return ended
    made = replace(challenger.model, position=position).store(now)
    await place.store.save(made, promote=True)
    return replace(ended, version=made.version)


async def _read(log: FeedbackLog) -> tuple[list[Feedback], str]:
    """Everything that the log holds, and the position of its end."""
    found: list[Feedback] = []
    at = log.start
    while entries := await log.read(at, CHUNK):
        found += [replace(e.feedback, source=e.feedback.source or e.producer) for e in entries]
        at = entries[-1].position
    return found, at


async def _champion(place: ModelPlace, progress: Callable[[str], None]) -> tuple[str | None, Model | None]:
    """The model in use; one that cannot be read counts for none, and any that can takes its place."""
    version = await place.store.champion()
    if version is None:
        return None, None
    try:
        return version, Model.load(await place.store.load(version))
    except ModelError as error:
        progress(str(error))
        return None, None


class _StoppedError(Exception):
    """Nobody waits for the training any more."""


async def _on_thread(work: Callable[[Callable[[str], None]], T], progress: Callable[[str], None]) -> T:
    """Do long work on a thread that does not outlive the program: Ctrl-C must not wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    stopped = threading.Event()

    def step(what: str) -> None:
        if stopped.is_set():
            raise _StoppedError
        loop.call_soon_threadsafe(progress, what)

    def end(settle: Callable[[Any], None], result: object) -> None:
        if not done.done():
            settle(result)

    def run() -> None:
        try:
            result = work(step)
        except _StoppedError:
            return
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            settle, value = done.set_exception, error
        else:
            settle, value = done.set_result, result  # type: ignore[assignment]
        try:
            loop.call_soon_threadsafe(end, settle, value)
        except RuntimeError:  # the loop is closed: nobody waits
            return

    threading.Thread(target=run, name="dispatcher-training", daemon=True).start()
    try:
        return await done
    finally:
        stopped.set()
