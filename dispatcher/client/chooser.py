"""What a dispatcher does by text: it selects without holding the event loop, and learns from what is said of it."""

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from dispatcher.client.learning import Learning
from dispatcher.client.shared_selections import SharedSelections, key_of, write_selection
from dispatcher.client.verdicts import Opinion, RecentRequests, feedbacks_of, wrong
from dispatcher.clock import Clock
from dispatcher.errors import DispatcherError, SettingsError
from dispatcher.registry.registry import Registry
from dispatcher.selection.feedback import Feedback, FeedbackLog
from dispatcher.selection.selection import Selection
from dispatcher.selection.selector import ConversationState, LearningSelector, Selector, names_allowed
from dispatcher.selection.words import MAX_TEXT_CHARACTERS
from dispatcher.settings import Settings

if TYPE_CHECKING:
    from dispatcher.selection.cascade import Cascade
    from dispatcher.selection.stored import ModelStore

logger = logging.getLogger(__name__)

#: Things under way that nobody waits for, at most; what is more is let go.
MAX_AT_ONCE: Final = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionCounts:
    """What a dispatcher has selected and been told since it was made."""

    #: By decision.
    selections: Mapping[str, int]
    #: Selections found in this process's cache and in the shared one, and those that were not.
    cache_hits: int
    cache_misses: int
    shared_hits: int
    shared_misses: int
    #: Feedbacks that were logged here: what people said, and what was guessed from what happened.
    feedback: int
    implicit_feedback: int


class Chooser:
    """One dispatcher's selector, and everything around it.

    Args:
        registry: what is selected from.
        selector: of any kind. One that can learn does.
        settings: for intervals and weights.
        clock: for what was asked a minute ago.
        producer: the dispatcher's id.
    """

    def __init__(
        self, registry: Registry, selector: Selector, settings: Settings, *, clock: Clock, producer: str
    ) -> None:
        self._registry = registry
        self._selector = selector
        self._clock = clock
        self._producer = producer
        self._weight = settings.implicit_feedback_weight
        self._log: FeedbackLog | None = None
        self._shared: SharedSelections | None = None
        self._recent = RecentRequests()
        self._under_way: set[asyncio.Task[None]] = set()
        self._selections: Counter[str] = Counter()
        self._said = 0
        self._guessed = 0
        self.learning: Learning | None = None
        if isinstance(selector, LearningSelector):
            self.learning = Learning(selector, registry=registry, producer=producer, settings=settings)

    def connect(
        self, log: FeedbackLog, store: "ModelStore | None" = None, shared: SharedSelections | None = None
    ) -> None:
        """Say where feedback, models and others' selections are. Nothing is asked of them before the first use."""
        self._log, self._shared = log, shared
        if self.learning is not None:
            self.learning.connect(log, store)

    async def close(self) -> None:
        """Stop what is done in the background. Selecting goes on."""
        self._log = self._shared = None
        if self.learning is not None:
            await self.learning.close()
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def counts(self) -> SelectionCounts:
        cache = getattr(self._selector, "cache", None)
        return SelectionCounts(
            selections=dict(self._selections),
            cache_hits=getattr(cache, "hits", 0),
            cache_misses=getattr(cache, "misses", 0),
            shared_hits=0 if self._shared is None else self._shared.hits,
            shared_misses=0 if self._shared is None else self._shared.misses,
            feedback=self._said,
            implicit_feedback=self._guessed,
        )

    # --- select -------------------------------------------------------------------------------------------------

    async def select(
        self, text: str, state: ConversationState | None = None, *, only: Collection[str] | None = None
    ) -> Selection:
        """See `Dispatcher.select`."""
        if not isinstance(text, str):
            msg = f"a function is selected by a text, not by a {type(text).__name__}"
            raise TypeError(msg)
        only = names_allowed(only)
        if self.learning is not None:
            self.learning.begin()
            await self.learning.loaded()
        selection = await self._select(text, state, only)
        self._selections[str(selection.decision)] += 1
        logger.debug(
            "selected",
            extra={"decision": str(selection.decision), "function": selection.function, "model": selection.model},
        )
        return selection

    async def _select(self, text: str, state: ConversationState | None, only: Collection[str] | None) -> Selection:
        selector = self._selector
        if getattr(selector, "quick", True):
            return selector.select(text, state, only=only)
        if not _is_cascade(selector):
            return await asyncio.to_thread(selector.select, text, state, only=only)
        known = selector.recall(text, state, only=only)
        if known is not None:
            return known
        # A key is made of the whole text: of one of 1 MB that takes longer than selecting, and nobody says it twice.
        if self._shared is None or not selector.uses_encoder or len(text) > MAX_TEXT_CHARACTERS:
            return await asyncio.to_thread(selector.select, text, state, only=only)
        return await self._select_shared(selector, self._shared, text, state, only)

    async def _select_shared(
        self,
        selector: "Cascade",
        shared: SharedSelections,
        text: str,
        state: ConversationState | None,
        only: Collection[str] | None,
    ) -> Selection:
        """Ask the shared cache first: selecting takes several times as long."""
        # On a thread: the first time it loads the encoder.
        fingerprint = await asyncio.to_thread(lambda: selector.fingerprint)
        revision, learnt = self._registry.revision, self._learnt
        key = key_of(text, state, only, selector=fingerprint, learnt=learnt)
        found = await shared.find(key, text)
        if found is not None:
            if (revision, learnt) == (self._registry.revision, self._learnt):
                selector.remember(found, state, only=only)
            return found
        selection = await asyncio.to_thread(selector.select, text, state, only=only)
        if (revision, learnt) == (self._registry.revision, self._learnt):
            self._start(_keep(shared, key, selection))
        return selection

    @property
    def _learnt(self) -> str:
        return "" if self.learning is None else self.learning.mark

    # --- what is said -------------------------------------------------------------------------------------------

    async def feedback(
        self, selection: Selection, opinion: Opinion, *, state: ConversationState | None, source: str | None
    ) -> None:
        """See `Dispatcher.feedback`."""
        user = None if state is None else state.user
        feedbacks = feedbacks_of(selection, opinion, self._registry, state, source or user or self._producer)
        if feedbacks:
            await self._give(*feedbacks)
        self._said += len(feedbacks)
        self._recent.settle(selection.text, user)

    async def _give(self, *feedbacks: Feedback) -> None:
        if self._log is None:
            msg = "feedback is kept on the server: start the Dispatcher first"
            raise SettingsError(msg)
        if self.learning is None:
            await self._log.append(*feedbacks, producer=self._producer)
        else:
            self.learning.begin()
            await self.learning.give(*feedbacks)

    # --- what is guessed ----------------------------------------------------------------------------------------

    def note_request(self, selection: Selection, state: ConversationState | None) -> None:
        """A selection was acted upon. Where the same user asks the same again, it was not the right one before."""
        if self._weight == 0 or selection.function is None:
            return
        user = None if state is None else state.user
        before = self._recent.add(selection.text, user, selection.function, self._clock.monotonic())
        if before is not None:
            self._guess_wrong(selection.text, before, state)

    def note_misfit(self, selection: Selection, state: ConversationState | None) -> None:
        """The arguments did not fit the function that was selected."""
        if self._weight > 0 and selection.function is not None:
            self._guess_wrong(selection.text, selection.function, state)

    def _guess_wrong(self, text: str, function: str, state: ConversationState | None) -> None:
        source = (None if state is None else state.user) or self._producer
        self._start(self._give_guess(wrong(text, function, state, source=source, weight=self._weight)))

    async def _give_guess(self, feedback: Feedback) -> None:
        try:
            await self._give(feedback)
            self._guessed += 1
        except (DispatcherError, ValueError) as error:
            logger.info("implicit_feedback_not_logged", extra={"reason": str(error), "function": feedback.function})

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for."""
        if self._log is None or len(self._under_way) >= MAX_AT_ONCE:
            work.close()
            return
        task = asyncio.create_task(work, name="dispatcher-selecting")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


async def _keep(shared: SharedSelections, key: bytes, selection: Selection) -> None:
    # On a thread: saying why a function was selected takes longer than selecting it.
    await shared.keep(key, await asyncio.to_thread(write_selection, selection))


def _is_cascade(selector: Selector) -> "TypeGuard[Cascade]":
    # Where its module was never imported there is none; importing it, and numpy with it, takes 0.2 s.
    cascade = sys.modules.get("dispatcher.selection.cascade")
    return cascade is not None and isinstance(selector, cascade.Cascade)
