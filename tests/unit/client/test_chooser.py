"""What a dispatcher does by text: whom it lets select, what it learns from, and what it guesses."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import cast

import pytest

from dispatcher import Cascade, ConversationState, Decision, KeywordRule, KeywordSelector, Registry, Selection, Settings
from dispatcher.client.chooser import MAX_AT_ONCE, Chooser
from dispatcher.client.shared_selections import SharedSelections
from dispatcher.client.verdicts import Opinion
from dispatcher.clock import SystemClock
from dispatcher.errors import (
    FeedbackRefusedError,
    InvalidArgumentsError,
    NoFunctionSelectedError,
    NoSelectionError,
    SettingsError,
    UnknownFunctionError,
)
from dispatcher.model.outcome import ErrorInfo, ErrorKind, Failed
from dispatcher.selection.feedback import Feedback, MemoryFeedbackLog, Verdict
from dispatcher.selection.selection import Candidate
from dispatcher.testing import FakeClock, RecordingDispatcher, RecordingSyncDispatcher
from dispatcher.transport.selection_cache import SharedSelectionCache
from tests.unit.client.fakes import settle
from tests.unit.client.talk import make_registry
from tests.unit.client.test_shared_selections import MemoryCache

ANN = ConversationState(user="ann")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def dispatcher(clock) -> AsyncIterator[RecordingDispatcher]:
    registry = make_registry()
    async with RecordingDispatcher(registry, selector=Cascade(registry), clock=clock) as made:
        yield made


def said(dispatcher: RecordingDispatcher) -> list[tuple[str, str, float, str]]:
    return [(str(f.verdict), f.function, f.weight, f.source) for f in dispatcher.feedbacks]


class TestFeedback:
    async def test_on_a_handle_it_is_known_to_the_very_next_selection(self, dispatcher) -> None:
        handle = await dispatcher.dispatch_text("tell me the forecast", state=ANN)
        assert handle.selection.function == "weather"
        await handle.feedback(function="text.count")
        assert said(dispatcher) == [("right", "text.count", 1.0, "ann")]
        assert (await dispatcher.select("tell me the forecast", ANN)).function == "text.count"

    async def test_on_a_selection_that_was_not_dispatched(self, dispatcher) -> None:
        selection = await dispatcher.select("frobnicate the gizmo")
        assert selection.function is None
        await dispatcher.feedback(selection, function=dispatcher.registry.get("mail.send"), source="ann")
        assert said(dispatcher) == [("right", "mail.send", 1.0, "ann")]
        assert (await dispatcher.select("frobnicate the gizmo", ANN)).function == "mail.send"
        await dispatcher.feedback(selection, nothing=True)
        assert dispatcher.feedbacks[-1].verdict is Verdict.NOTHING
        assert dispatcher.feedbacks[-1].source == dispatcher.producer

    async def test_a_handle_on_a_named_call_takes_none(self, dispatcher) -> None:
        handle = await dispatcher.dispatch(dispatcher.registry.bind("weather", {}))
        assert handle.selection is None
        with pytest.raises(NoSelectionError, match=r"dispatcher\.feedback\(selection, …\)"):
            await handle.feedback(right=True)

    async def test_what_is_said_wrongly_is_refused_and_not_logged(self, dispatcher) -> None:
        selection = await dispatcher.select("what is the weather")
        with pytest.raises(ValueError, match="says one thing"):
            await dispatcher.feedback(selection)
        with pytest.raises(UnknownFunctionError):
            await dispatcher.feedback(selection, function="wether")
        assert dispatcher.feedbacks == []

    async def test_a_refusal_reaches_the_caller_and_nothing_is_learnt(self, dispatcher, monkeypatch) -> None:
        refuse_all(monkeypatch, dispatcher)
        selection = await dispatcher.select("frobnicate the gizmo")
        with pytest.raises(FeedbackRefusedError):
            await dispatcher.feedback(selection, function="weather")
        assert (await dispatcher.select("frobnicate the gizmo")).function is None

    async def test_what_is_said_of_several_choices_is_logged_at_once(self, dispatcher, monkeypatch) -> None:
        choices = tuple(Candidate(function=name, probability=0.3) for name in ("weather", "mail.send", "text.count"))
        asked = Selection(text="t", candidates=choices, choices=choices, decision=Decision.ASK)
        append, appended = dispatcher._feedback_log.append, []

        async def count(*feedbacks: Feedback, producer: str) -> Sequence[str]:
            appended.append(len(feedbacks))
            return await append(*feedbacks, producer=producer)

        monkeypatch.setattr(dispatcher._feedback_log, "append", count)
        await dispatcher.feedback(asked, right=False)
        assert appended == [3]
        assert [function for _, function, *_ in said(dispatcher)] == ["weather", "mail.send", "text.count"]
        assert dispatcher.selection_counts.feedback == 3
        refuse_all(monkeypatch, dispatcher)
        with pytest.raises(FeedbackRefusedError):
            await dispatcher.feedback(asked, right=False)
        assert dispatcher.selection_counts.feedback == 3

    async def test_it_needs_a_started_dispatcher(self) -> None:
        registry = make_registry()
        dispatcher = RecordingDispatcher(registry, selector=Cascade(registry))
        selection = await dispatcher.select("what is the weather")
        with pytest.raises(SettingsError, match="not started"):
            await dispatcher.feedback(selection, right=True)

    async def test_a_selector_that_cannot_learn_is_no_obstacle_to_saying(self) -> None:
        registry = make_registry()
        async with RecordingDispatcher(registry, selector=KeywordSelector(registry)) as dispatcher:
            await dispatcher.feedback(await dispatcher.select("what is the weather"), right=True)
            assert [feedback.function for feedback in dispatcher.feedbacks] == ["weather"]

    def test_without_asyncio_it_is_the_same(self) -> None:
        registry = make_registry()
        with RecordingSyncDispatcher(registry, selector=Cascade(registry)) as dispatcher:
            handle = dispatcher.dispatch_text("what is the weather", only=["weather"])
            handle.feedback(right=True)
            assert handle.selection.function == "weather"
            dispatcher.feedback(dispatcher.select("frobnicate"), function="weather", source="bob")
            assert [feedback.text for feedback in dispatcher.recorder.feedbacks] == [
                "what is the weather",
                "frobnicate",
            ]
            assert dispatcher.selection_counts.feedback == 2


def refuse_all(monkeypatch: pytest.MonkeyPatch, dispatcher: RecordingDispatcher) -> None:
    async def refuse(*feedbacks: object, producer: str) -> str:
        raise FeedbackRefusedError(source="ann", limit=1, retry_after=timedelta(seconds=9))

    monkeypatch.setattr(dispatcher._feedback_log, "append", refuse)


class TestWhatIsGuessed:
    async def test_the_same_user_who_asks_the_same_again(self, dispatcher, clock) -> None:
        await dispatcher.dispatch_text("what is the weather", state=ANN)
        clock.advance(30)
        await dispatcher.dispatch_text("What is the WEATHER", state=ANN)
        await settle()
        assert said(dispatcher) == [("wrong", "weather", 0.1, "ann")]
        clock.advance(61)
        await dispatcher.dispatch_text("what is the weather", state=ANN)
        await settle()
        assert len(dispatcher.feedbacks) == 1
        assert dispatcher.selection_counts.implicit_feedback == 1

    async def test_feedback_in_between_says_more_than_a_guess(self, dispatcher) -> None:
        handle = await dispatcher.dispatch_text("what is the weather", state=ANN)
        await handle.feedback(right=True)
        await dispatcher.dispatch_text("what is the weather", state=ANN)
        await settle()
        assert said(dispatcher) == [("right", "weather", 1.0, "ann")]

    async def test_a_program_that_repeats_its_key_has_not_asked_again(self, dispatcher) -> None:
        for _ in range(2):
            await dispatcher.dispatch_text("what is the weather", state=ANN, idempotency_key="k")
        await settle()
        assert dispatcher.feedbacks == []

    async def test_arguments_that_do_not_fit(self, dispatcher) -> None:
        with pytest.raises(InvalidArgumentsError):
            await dispatcher.dispatch_text("send a mail", {"to": "nobody"}, state=ANN)
        await settle()
        assert said(dispatcher) == [("wrong", "mail.send", 0.1, "ann")]

    async def test_arguments_that_the_worker_refused(self, dispatcher) -> None:
        refused = ErrorInfo(kind=ErrorKind.INVALID_ARGUMENTS, type="x", message="they do not fit")
        dispatcher.answer(dispatcher.registry.get("weather"), Failed(error=refused, attempts=1))
        handle = await dispatcher.dispatch_text("what is the weather", state=ANN)
        await handle.outcome()
        await handle.outcome()
        await settle()
        assert said(dispatcher) == [("wrong", "weather", 0.1, "ann")]

    async def test_success_and_other_failures_say_nothing(self, dispatcher) -> None:
        for answer in ("rain", ValueError("broken")):
            dispatcher.answer(dispatcher.registry.get("weather"), answer)
            await (await dispatcher.dispatch_text(f"what is the weather {answer}", state=ANN)).outcome()
        await settle()
        assert dispatcher.feedbacks == []

    async def test_a_refusal_troubles_nobody(self, dispatcher, monkeypatch, caplog) -> None:
        refuse_all(monkeypatch, dispatcher)
        caplog.set_level("INFO")
        for _ in range(2):
            await dispatcher.dispatch_text("what is the weather", state=ANN)
        await settle()
        assert [r.message for r in caplog.records if r.message.startswith("implicit")] == [
            "implicit_feedback_not_logged"
        ]

    async def test_what_waits_is_bounded(self, dispatcher, monkeypatch) -> None:
        async def hang(feedback: object, *, producer: str) -> str:
            return await asyncio.Future()

        monkeypatch.setattr(dispatcher._feedback_log, "append", hang)
        for _ in range(MAX_AT_ONCE + 20):
            await dispatcher.dispatch_text("what is the weather", state=ANN)
        assert len(dispatcher._chooser._under_way) == MAX_AT_ONCE

    async def test_it_can_be_turned_off(self, monkeypatch) -> None:
        monkeypatch.setenv("DISPATCHER_IMPLICIT_FEEDBACK_WEIGHT", "0")
        registry = make_registry()
        async with RecordingDispatcher(registry, selector=Cascade(registry)) as dispatcher:
            for _ in range(2):
                await dispatcher.dispatch_text("what is the weather", state=ANN)
            with pytest.raises(InvalidArgumentsError):
                await dispatcher.dispatch_text("send a mail", {"to": "nobody"}, state=ANN)
            await settle()
            assert dispatcher.feedbacks == []


class TestSelecting:
    @pytest.mark.parametrize("text", [None, 7, b"mail.send"])
    async def test_what_is_no_text_is_refused_by_its_type(self, dispatcher, text) -> None:
        with pytest.raises(TypeError, match=type(text).__name__):
            await dispatcher.select(text)

    async def test_one_allowed_name_alone_is_refused(self, dispatcher) -> None:
        with pytest.raises(TypeError, match="collection of names"):
            await dispatcher.dispatch_text("what is the weather", only="weather")

    async def test_only_what_the_caller_may_call_is_selected(self, dispatcher) -> None:
        selection = await dispatcher.select("text.count", only=["weather", "gone"])
        assert {candidate.function for candidate in selection.candidates} <= {"weather"}
        with pytest.raises(NoFunctionSelectedError):
            await dispatcher.dispatch_text("text.count", only=["gone"])
        handle = await dispatcher.dispatch_text("what is the weather", only=["weather"])
        assert handle.function == "weather"

    async def test_decisions_are_counted(self, dispatcher) -> None:
        for text in ("weather", "weather", "xyzzy"):
            await dispatcher.select(text)
        counts = dispatcher.selection_counts
        assert counts.selections["act"] == 2
        assert sum(counts.selections.values()) == 3
        assert counts.cache_hits == dispatcher.selector.cache.hits == 1

    async def test_a_selector_that_takes_long_selects_on_a_thread(self) -> None:
        class Slow:
            quick = False
            thread = ""

            def select(self, text, state=None, *, only=None):
                self.thread = threading.current_thread().name
                return Cascade(Registry()).select(text)

        slow = Slow()
        async with RecordingDispatcher(make_registry(), selector=slow) as dispatcher:
            await dispatcher.select("weather")
        assert slow.thread != threading.current_thread().name


class EncoderCascade(Cascade):
    """One that says that it takes long, and counts how often it has to."""

    uses_encoder = True
    selected = 0

    def select(self, text, state=None, *, only=None):
        self.selected += 1
        return super().select(text, state, only=only)


class TestSharedSelections:
    @staticmethod
    def make(cache: MemoryCache, registry: Registry) -> tuple[EncoderCascade, Chooser]:
        selector = EncoderCascade(registry)
        chooser = Chooser(registry, selector, Settings(), clock=SystemClock(), producer=str(id(selector)))
        chooser.connect(MemoryFeedbackLog(), None, SharedSelections(cast("SharedSelectionCache", cache), registry))
        return selector, chooser

    async def test_what_one_has_selected_another_need_not(self) -> None:
        cache = MemoryCache()
        (first, one), (second, other) = (self.make(cache, make_registry()) for _ in range(2))
        made = await one.select("what is the weather")
        await finish(one)
        # Builds what the cache of this process hangs on.
        second.select("something else")
        found = await other.select("what is the weather")
        assert (found, found.function) == (made, "weather")
        assert (first.selected, second.selected) == (1, 1)
        assert (await other.select("what is the weather")) is not None
        assert (other.counts.shared_hits, other.counts.shared_misses, other.counts.cache_hits) == (1, 0, 1)

    async def test_a_text_longer_than_is_read_is_not_looked_up(self) -> None:
        _, chooser = self.make(MemoryCache(), make_registry())
        for characters, lookups in ((4_096, 1), (4_097, 1), (1_000_000, 1)):
            await chooser.select("weather ".ljust(characters, "x"))
            assert chooser.counts.shared_misses == lookups

    async def test_a_removed_function_is_selected_by_neither(self) -> None:
        cache = MemoryCache()
        registries = [make_registry() for _ in range(2)]
        (_, one), (_, other) = (self.make(cache, registry) for registry in registries)
        for chooser in (one, other):
            assert (await chooser.select("what is the weather")).function == "weather"
            await finish(chooser)
        for registry, chooser in zip(registries, (one, other), strict=True):
            registry.remove("weather")
            selection = await chooser.select("what is the weather")
            assert "weather" not in {selection.function, *(candidate.function for candidate in selection.candidates)}

    async def test_what_was_learnt_is_not_overruled_by_what_was_kept(self) -> None:
        cache = MemoryCache()
        (_, one), (_, other) = (self.make(cache, make_registry()) for _ in range(2))
        selection = await one.select("frobnicate the gizmo")
        await finish(one)
        await other.feedback(selection, Opinion(function="weather"), state=ANN, source=None)
        assert (await other.select("frobnicate the gizmo", ANN)).function == "weather"
        assert (await one.select("frobnicate the gizmo", ANN)).function is None


async def finish(chooser: Chooser) -> None:
    await asyncio.gather(*chooser._under_way)


@pytest.mark.parametrize("kind", [RecordingDispatcher, RecordingSyncDispatcher])
def test_rules_are_for_the_selector_that_a_dispatcher_makes_for_itself(kind) -> None:
    rule = KeywordRule(function="weather", any_of=("zephyr",))
    registry = make_registry()
    made = kind(registry, rules=[rule])
    selector = (made.recorder if kind is RecordingSyncDispatcher else made).selector
    assert selector.select("zephyr").function == "weather"
    with pytest.raises(ValueError, match="give rules to the selector itself"):
        kind(registry, selector=Cascade(registry), rules=[rule])
    with pytest.raises(UnknownFunctionError, match="a KeywordRule names it"):
        kind(registry, rules=[KeywordRule(function="gone", any_of=("zephyr",))])
