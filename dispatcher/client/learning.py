"""Joins a selector that learns to what every producer says: the feedback log, and the model in use."""

import asyncio
import hashlib
import logging
import secrets
from collections import Counter, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from dispatcher.client.guard import Fall, Guard
from dispatcher.errors import DispatcherError, ModelError
from dispatcher.registry.registry import Registry
from dispatcher.selection.feedback import Entry, Feedback, FeedbackLog
from dispatcher.selection.selector import LearningSelector
from dispatcher.settings import Settings

if TYPE_CHECKING:
    from dispatcher.selection.model import Model
    from dispatcher.selection.stored import ModelStore

logger = logging.getLogger(__name__)

#: Looks at the log for each look at which model is the champion.
CHAMPION_EVERY: Final = 5
#: Entries that are read, and then learnt, at once.
CHUNK: Final = 500
#: Feedback of before that a selector learns again, at most: the newest.
MAX_SINCE: Final = 20_000
#: Feedbacks learnt between two looks of the guard, by whomever and by one source.
GUARD_EVERY: Final = 200
GUARD_FROM_ONE: Final = 50
#: Sources that are counted, and that are ignored, at most.
MAX_SOURCES: Final = 1_000
MAX_IGNORED: Final = 100


class Learning:
    """Keeps one selector up with what was said anywhere; in one event loop, which it never holds.

    What this producer says is learnt when it is given, what others say when it is read. So each feedback is learnt
    once, and selectors that have read the same log have learnt the same.

    Args:
        selector: belongs to this alone; nobody else has it learn.
        registry: its functions.
        producer: under whose name feedback is logged here.
        settings: for the intervals.
    """

    def __init__(self, selector: LearningSelector, *, registry: Registry, producer: str, settings: Settings) -> None:
        self._selector = selector
        self._registry = registry
        self._producer = producer
        self._interval = settings.learn_interval_seconds
        self._patience = settings.dispatch_timeout_seconds
        self._log: FeedbackLog | None = None
        self._store: ModelStore | None = None
        self._task: asyncio.Task[None] | None = None
        self._first = asyncio.Event()
        self._looks = 0
        self._troubled = False
        #: A champion that cannot be used; it is not tried again.
        self._refused = ""
        self._model: Model | None = getattr(selector, "model", None)
        #: In the log: everything up to it is learnt.
        self._position: str | None = None
        #: A sum over everything that was learnt beside the model, whatever its order.
        self._mark = 0
        self._guard: Guard | None = None
        self._unguarded = 0
        #: By source, since the model and since the guard's last look.
        self._said: Counter[str] = Counter()
        self._said_unguarded: Counter[str] = Counter()
        self._ignored: frozenset[str] = frozenset()
        #: Held while a feedback is logged and learnt, and while a model is changed: a model that comes knows what was
        #: said before it.
        self._changing = asyncio.Lock()

    # --- its life -----------------------------------------------------------------------------------------------

    def connect(self, log: FeedbackLog, store: "ModelStore | None") -> None:
        """Say where the log and the models are. Nothing is asked of them yet."""
        self._log, self._store = log, store

    def begin(self) -> None:
        """Follow them, in the background; does nothing where that is done already, or there are none."""
        if self._task is None and self._log is not None and self._store is not None:
            self._task = asyncio.create_task(self._follow(), name="dispatcher-learning")
            self._task.add_done_callback(_report)

    async def loaded(self) -> None:
        """Wait until what was learnt before is in use; not for long, and not where it cannot be had."""
        if self._task is None or self._first.is_set():
            return
        try:
            async with asyncio.timeout(self._patience):
                await self._first.wait()
        except TimeoutError:
            self._first.set()  # whoever comes next does not wait again
            logger.info("selecting_before_learning", extra={"waited_seconds": self._patience})

    async def close(self) -> None:
        """Follow no longer."""
        task, self._task = self._task, None
        self._log = self._store = None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def mark(self) -> str:
        """Equal for producers whose selectors have the same model and have learnt the same since."""
        return f"{self._selector.version} {self._mark:x}"

    # --- what is said here ----------------------------------------------------------------------------------------

    async def give(self, *feedbacks: Feedback) -> None:
        """Log what one source says at once, and then learn from it: what is refused is not learnt.

        Raises:
            FeedbackRefusedError: it would be more than the source may say within a minute.
            ServerError: with `accepted` unknown it may have been logged; this selector has not learnt it.
        """
        async with self._changing:
            assert self._log is not None  # noqa: S101 - who gives is connected
            positions = await self._log.append(*feedbacks, producer=self._producer)
            sources = [feedback.source or self._producer for feedback in feedbacks]
            await self._learn(list(zip(positions, feedbacks, sources, strict=True)))

    # --- what others say ------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            try:
                await self.look()
                if self._troubled:
                    logger.info("learning_resumed")
                self._troubled = False
            except DispatcherError as error:
                if not self._troubled:
                    logger.warning("learning_paused: %s", error, extra={"reason": str(error)})
                self._troubled = True
            finally:
                self._first.set()
            await asyncio.sleep(self._interval)

    async def look(self) -> None:
        """Look once at the log and, now and then, at which model is the champion.

        Raises:
            ServerError: they cannot be read; the next look goes on where this one stopped.
        """
        if self._looks % CHAMPION_EVERY == 0:
            await self._look_at_champion()
        self._looks += 1
        await self._look_at_log()
        # Before the guard, which may take a second: whoever waits has all that there is to know.
        self._first.set()
        if self._guard is None:
            await self._set_guard()
        if self._is_to_be_guarded:
            await self._look_at_guard()

    async def catch_up(self) -> None:
        """Take the champion and what was said, once; for whoever selects a few texts and is gone.

        Raises:
            ServerError: they cannot be read.
        """
        await self._look_at_champion()
        await self._look_at_log()
        if self._is_to_be_guarded:
            await self._set_guard()
            await self._look_at_guard()

    async def _look_at_champion(self) -> None:
        assert self._store is not None  # noqa: S101 - who looks is connected
        version = ""
        try:
            version = await self._store.champion() or ""
            if version in {"", self._selector.version, self._refused}:
                return
            from dispatcher.selection.model import Model  # noqa: PLC0415 - only where there is one

            stored = await self._store.load(version)
            model = await asyncio.to_thread(Model.load, stored)
            await self._use(model)
        except ModelError as error:
            # Until there is another champion the one before it goes on.
            self._refused = version
            logger.warning("model_not_used: %s", error, extra={"version": version, "reason": str(error)})

    async def _use(self, model: "Model") -> None:
        """Take a model, and learn what was said since it was trained, by whomever."""
        async with self._changing:
            entries, position = await self._since(model.position)
            await asyncio.to_thread(self._selector.use, model, [entry.feedback for entry in entries])
            self._model = model
            self._position = position
            self._mark = sum(_digest(entry.position) for entry in entries) % 2**64
            self._forget_sources()
            self._count([entry.feedback.source or entry.producer for entry in entries])
            self._guard = None
        logger.info("model_in_use", extra={"version": model.version, "learnt_since": len(entries)})

    async def _since(self, position: str) -> tuple[Sequence[Entry], str]:
        """The newest entries after a position, and the position of the last."""
        assert self._log is not None  # noqa: S101 - as above
        kept: deque[Entry] = deque(maxlen=MAX_SINCE)
        at = await self._place(position)
        while entries := await self._log.read(at, CHUNK):
            kept.extend(entries)
            at = entries[-1].position
        return kept, at

    async def _look_at_log(self) -> None:
        assert self._log is not None  # noqa: S101 - as above
        if self._position is None:
            self._position = await self._place("" if self._model is None else self._model.position)
        while entries := await self._log.read(self._position, CHUNK):
            # Before it is learnt: what is stopped half-way is not learnt twice.
            self._position = entries[-1].position
            await self._learn(
                [
                    (e.position, e.feedback, e.feedback.source or e.producer)
                    for e in entries
                    if e.producer != self._producer
                ]
            )
            if len(entries) < CHUNK:
                return

    async def _place(self, position: str) -> str:
        """A model's position, where it is one of this log: a model may have been trained elsewhere."""
        assert self._log is not None  # noqa: S101 - as above
        try:
            await self._log.read(position or self._log.start, 1)
        except ValueError:
            logger.info("position_of_another_log", extra={"position": position[:80]})
            return self._log.start
        return position or self._log.start

    async def _learn(self, said: Sequence[tuple[str, Feedback, str]]) -> None:
        """Learn what was said: the position, the feedback and the source of each."""
        heard = [(position, feedback, source) for position, feedback, source in said if source not in self._ignored]
        if not heard:
            return
        if len(heard) == 1 and getattr(self._selector, "quick", False):
            self._selector.learn(heard[0][1])
        else:
            await asyncio.to_thread(_learn_all, self._selector, [feedback for _, feedback, _ in heard])
        self._mark = (self._mark + sum(_digest(position) for position, _, _ in heard)) % 2**64
        self._count([source for _, _, source in heard])

    # --- what bounds it -------------------------------------------------------------------------------------------

    @property
    def _is_to_be_guarded(self) -> bool:
        return self._unguarded >= GUARD_EVERY or max(self._said_unguarded.values(), default=0) >= GUARD_FROM_ONE

    async def _set_guard(self) -> None:
        guard = Guard(self._selector, self._registry, self._model)
        await asyncio.to_thread(guard.begin, taught=self._unguarded > 0)
        self._guard = guard

    async def _look_at_guard(self) -> None:
        assert self._guard is not None  # noqa: S101 - set at the first look
        self._unguarded = 0
        self._said_unguarded.clear()
        fall = await asyncio.to_thread(self._guard.find_fall)
        if fall is not None:
            await self._set_back(fall)

    async def _set_back(self, fall: Fall) -> None:
        """Forget what was learnt since the model, and those who said the most of it until there is another."""
        async with self._changing:
            await asyncio.to_thread(self._selector.use, self._model, [])
            loudest = _loudest(self._said)
            self._forget_sources()
            self._ignored = frozenset(loudest)
            # Nobody else has learnt just this.
            self._mark = secrets.randbits(64)
        logger.warning(
            "learning_set_back: %.1f %% of %d confirmed texts were told rightly, now %.1f %%",
            100 * fall.before,
            fall.texts,
            100 * fall.now,
            extra={"before": fall.before, "now": fall.now, "texts": fall.texts, "ignored_sources": len(loudest)},
        )

    def _count(self, sources: Sequence[str]) -> None:
        self._unguarded += len(sources)
        self._said = _counted(self._said, sources)
        self._said_unguarded = _counted(self._said_unguarded, sources)

    def _forget_sources(self) -> None:
        self._said.clear()
        self._said_unguarded.clear()
        self._ignored = frozenset()
        self._unguarded = 0


def _learn_all(selector: LearningSelector, feedbacks: Sequence[Feedback]) -> None:
    for feedback in feedbacks:
        selector.learn(feedback)


def _counted(said: Counter[str], sources: Sequence[str]) -> Counter[str]:
    said.update(sources)
    return said if len(said) <= MAX_SOURCES else Counter(dict(said.most_common(MAX_SOURCES // 2)))


def _loudest(said: Counter[str]) -> list[str]:
    """The fewest sources that said half of everything."""
    found: list[str] = []
    left = sum(said.values()) / 2
    for source, count in said.most_common(MAX_IGNORED):
        if left <= 0:
            break
        found.append(source)
        left -= count
    return found


def _digest(position: str) -> int:
    return int.from_bytes(hashlib.blake2b(position.encode(), digest_size=8).digest())


def _report(task: asyncio.Task[None]) -> None:
    """A mistake of a selector's own ends the learning, not the dispatcher, and not without a word."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("learning_ended", exc_info=error)
