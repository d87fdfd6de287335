"""A selector is kept up with what everybody says, and with the model in use; it is bounded how far it can be misled."""

import asyncio
import logging
from datetime import timedelta
from typing import cast

import pytest

from dispatcher.client import learning as module
from dispatcher.client.learning import Learning
from dispatcher.errors import FeedbackRefusedError, ServerUnreachableError
from dispatcher.registry.registry import Registry
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.feedback import Feedback, MemoryFeedbackLog, Verdict
from dispatcher.selection.selector import ConversationState, LearningSelector
from dispatcher.settings import Settings
from tests.unit.client.fakes import settle
from tests.unit.client.talk import MemoryStore, make_registry, right, stored


class Producer:
    """A selector, and its learning on a shared log and store."""

    def __init__(self, name: str, log: MemoryFeedbackLog, store: MemoryStore, registry: Registry | None = None) -> None:
        self.registry = registry or make_registry()
        self.selector = Cascade(self.registry)
        self.learning = Learning(self.selector, registry=self.registry, producer=name, settings=Settings())
        self.learning.connect(log, store)

    def selects(self, text: str, user: str | None = None) -> str | None:
        return self.selector.select(text, ConversationState(user=user)).function

    async def look(self, times: int = 1) -> None:
        for _ in range(times):
            await self.learning.look()


class Recorder:
    """A selector that only remembers what it was told to learn."""

    version = ""

    def __init__(self) -> None:
        self.learnt: list[str] = []

    def select(self, text, state=None, *, only=None):
        return Cascade(Registry()).select(text)

    def learn(self, feedback: Feedback) -> None:
        self.learnt.append(feedback.text)

    def use(self, model, since=()) -> None:
        self.learnt = [feedback.text for feedback in since]


@pytest.fixture
def log() -> MemoryFeedbackLog:
    return MemoryFeedbackLog()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


class TestWhatIsSaid:
    async def test_it_is_known_to_the_very_next_selection_here(self, log, store) -> None:
        one = Producer("one", log, store)
        assert one.selects("frobnicate the gizmo", "ann") is None
        await one.learning.give(right("frobnicate the gizmo", "weather", "ann"))
        assert one.selects("frobnicate the gizmo", "ann") == "weather"

    async def test_it_is_known_elsewhere_after_the_next_look(self, log, store) -> None:
        one, other = Producer("one", log, store), Producer("other", log, store)
        await other.look()
        await one.learning.give(right("frobnicate the gizmo", "weather", "ann"))
        assert other.selects("frobnicate the gizmo", "ann") is None
        await other.look()
        assert other.selects("frobnicate the gizmo", "ann") == "weather"

    async def test_what_was_said_here_is_not_learnt_twice(self, log, store) -> None:
        recorder = Recorder()
        assert isinstance(recorder, LearningSelector)
        learning = Learning(recorder, registry=Registry(), producer="one", settings=Settings())
        learning.connect(log, store)
        await learning.give(right("mine", "f"))
        await log.append(right("theirs", "f"), producer="other")
        await learning.look()
        await learning.look()
        assert recorder.learnt == ["mine", "theirs"]

    async def test_counts_of_two_that_write_at_once_are_those_of_one_that_wrote_all(self, log, store) -> None:
        one, other, reader = (Producer(name, log, store) for name in ("one", "other", "reader"))
        functions = ("text.count", "mail.send", "weather")
        said = [right(f"please {word} it {n}", functions[n % 3]) for n, word in enumerate(["zip", "zap", "zop"] * 4)]
        await asyncio.gather(
            *(producer.learning.give(f) for n, f in enumerate(said) for producer in [(one, other)[n % 2]])
        )
        alone = Producer("alone", MemoryFeedbackLog(), store)
        for feedback in said:
            await alone.learning.give(feedback)
        for producer in (one, other, reader):
            await producer.look()
            assert counts(producer) == counts(alone)
        assert one.learning.mark == other.learning.mark == reader.learning.mark

    async def test_what_is_refused_is_not_learnt(self, log, store, monkeypatch) -> None:
        async def refuse(feedback: Feedback, *, producer: str) -> str:
            raise FeedbackRefusedError(source="ann", limit=1, retry_after=timedelta(minutes=1))

        one = Producer("one", log, store)
        monkeypatch.setattr(log, "append", refuse)
        with pytest.raises(FeedbackRefusedError):
            await one.learning.give(right("frobnicate the gizmo", "weather", "ann"))
        assert one.selects("frobnicate the gizmo", "ann") is None

    async def test_a_long_log_is_learnt_in_pieces(self, log, store, monkeypatch) -> None:
        monkeypatch.setattr(module, "CHUNK", 3)
        for number in range(8):
            await log.append(right(f"text {number}", "weather"), producer="other")
        recorder = Recorder()
        learning = Learning(recorder, registry=Registry(), producer="one", settings=Settings())
        learning.connect(log, store)
        await learning.look()
        assert recorder.learnt == [f"text {number}" for number in range(8)]


def counts(producer: Producer) -> list[dict[int, float]]:
    """How often each n-gram was met in texts of each function."""
    snapshot = producer.selector._decider_now().snapshot
    bayes, ngrams = snapshot.bayes, snapshot.ngrams
    made = bayes.dump(range(snapshot.size))
    found: list[dict[int, float]] = [{} for _ in range(snapshot.size)]
    for row, column, value in zip(made.rows, made.columns, made.values, strict=True):
        found[int(column)][int(ngrams.buckets[int(row)])] = pytest.approx(float(value))
    return found


class TestTheModelInUse:
    async def test_it_is_taken_with_what_was_said_since(self, log, store) -> None:
        one = Producer("one", log, store)
        await log.append(right("before the model", "mail.send", "ann"), producer="other")
        position = await log.last()
        await log.append(right("after the model", "mail.send", "ann"), producer="other")
        await store.save(stored(one.registry, "wug", "weather", position=position), promote=True)
        await one.look()
        assert one.selector.version == store.named
        assert one.selects("wug the lot") == "weather"
        assert one.selects("after the model", "ann") == "mail.send"
        before = one.selector.select("before the model", ConversationState(user="ann"))
        assert before.reason != "known word for word"

    async def test_another_is_taken_within_a_few_looks_and_so_is_one_from_before(self, log, store) -> None:
        one = Producer("one", log, store)
        first, second = stored(one.registry, "wug", "weather"), stored(one.registry, "wug", "mail.send", day=1)
        await store.save(first, promote=True)
        await one.look()
        assert one.selects("wug the lot") == "weather"
        await store.save(second, promote=True)
        await one.look(module.CHAMPION_EVERY)
        assert (one.selector.version, one.selects("wug the lot")) == (second.version, "mail.send")
        await store.promote(first.version)
        await one.look(module.CHAMPION_EVERY)
        assert (one.selector.version, one.selects("wug the lot")) == (first.version, "weather")

    async def test_what_was_said_here_while_it_came_is_not_lost_and_not_counted_twice(self, log, store) -> None:
        one, other = Producer("one", log, store), Producer("other", log, store)
        await store.save(stored(one.registry, "wug", "weather"), promote=True)
        said = [one.learning.give(right(f"gizmo {n}", "mail.send")) for n in range(5)]
        await asyncio.gather(*said[:2], one.look(), *said[2:])
        await one.look()
        await other.look()
        assert counts(one) == counts(other)

    async def test_one_that_cannot_be_read_is_told_once_and_the_one_before_goes_on(self, log, store, caplog) -> None:
        one = Producer("one", log, store)
        store.named = "broken"
        with caplog.at_level(logging.WARNING):
            await one.look(2 * module.CHAMPION_EVERY + 1)
        assert [record.message for record in caplog.records] == ["model_not_used: there is no model of version broken"]
        assert store.loads == 1
        await log.append(right("frobnicate the gizmo", "weather", "ann"), producer="other")
        await one.look()
        assert one.selects("frobnicate the gizmo", "ann") == "weather"

    async def test_one_that_was_trained_on_another_log_learns_this_one_from_its_start(self, log, store) -> None:
        one = Producer("one", log, store)
        await log.append(right("frobnicate the gizmo", "weather", "ann"), producer="other")
        await store.save(stored(one.registry, "wug", "weather", position="1764087000000-0"), promote=True)
        await one.look()
        assert one.selects("frobnicate the gizmo", "ann") == "weather"


class TestInTheBackground:
    async def test_an_outage_is_told_once_and_borne(self, log, store, caplog, monkeypatch) -> None:
        async def gone() -> str | None:
            raise ServerUnreachableError(address="redis://gone", problem="no answer")

        pause = asyncio.Event()

        async def no_sleep(_: float) -> None:
            await pause.wait()
            pause.clear()

        one = Producer("one", log, store)
        champion = store.champion
        monkeypatch.setattr(store, "champion", gone)
        monkeypatch.setattr(module, "CHAMPION_EVERY", 1)
        monkeypatch.setattr("dispatcher.client.learning.asyncio.sleep", no_sleep)
        with caplog.at_level(logging.INFO, logger=module.__name__):
            one.learning.begin()
            await one.learning.loaded()
            await one.learning.loaded()
            monkeypatch.setattr(store, "champion", champion)
            pause.set()
            while "learning_resumed" not in caplog.messages:
                await _turn()
        assert sum("learning_paused" in message for message in caplog.messages) == 1
        await one.learning.close()

    async def test_a_selector_that_fails_ends_the_learning_and_not_the_dispatcher(self, log, store, caplog) -> None:
        class Broken(Recorder):
            def learn(self, feedback: Feedback) -> None:
                raise ZeroDivisionError

        learning = Learning(Broken(), registry=Registry(), producer="one", settings=Settings())
        learning.connect(log, store)
        await log.append(right("x", "f"), producer="other")
        learning.begin()
        await learning.loaded()
        task = cast("asyncio.Task[None]", learning._task)
        await asyncio.wait({task})
        await settle()
        assert "learning_ended" in caplog.messages
        await learning.close()

    async def test_without_a_log_nothing_begins(self) -> None:
        learning = Learning(Recorder(), registry=Registry(), producer="one", settings=Settings())
        learning.begin()
        await learning.loaded()
        await learning.close()
        assert learning._task is None


async def _flood(log: MemoryFeedbackLog, source: str, times: int) -> None:
    """Say of texts like those of the model that they mean another function."""
    for n in range(times):
        tail = ("it", "them", "this now", "all of that", "something", "the thing")[n % 6]
        await log.append(right(f"wug {tail}", "mail.send", source), producer="other")


async def _turn() -> None:
    """One turn of the loop, and a moment for threads, whatever `asyncio.sleep` is now."""
    await asyncio.to_thread(lambda: None)


class TestBeingMisled:
    async def test_a_flood_of_wrong_verdicts_is_set_back_and_its_source_is_no_longer_heard(
        self, log, store, caplog, monkeypatch
    ) -> None:
        monkeypatch.setattr(module, "GUARD_EVERY", 30)
        one = Producer("one", log, store)
        await store.save(stored(one.registry, "wug", "weather"), promote=True)
        await one.look()
        before = one.selects("wug them all")
        await _flood(log, "mallory", 40)
        with caplog.at_level(logging.WARNING, logger=module.__name__):
            await one.look()
        assert any(message.startswith("learning_set_back") for message in caplog.messages)
        assert one.selects("wug them all") == before == "weather"
        await log.append(right("wug something", "mail.send", "mallory"), producer="other")
        await log.append(right("frobnicate the gizmo", "weather", "ann"), producer="other")
        await one.look()
        assert one.selects("wug something") == "weather"
        assert one.selects("frobnicate the gizmo", "ann") == "weather"

    async def test_one_source_alone_is_looked_at_sooner(self, log, store, caplog) -> None:
        one = Producer("one", log, store)
        await store.save(stored(one.registry, "wug", "weather"), promote=True)
        await one.look()
        await _flood(log, "mallory", 60)
        await one.look()
        assert any(message.startswith("learning_set_back") for message in caplog.messages)
        assert one.selects("wug them all") == "weather"

    async def test_who_starts_after_a_flood_is_not_misled_by_it_either(self, log, store, caplog) -> None:
        one = Producer("one", log, store)
        await store.save(stored(one.registry, "wug", "weather"), promote=True)
        await _flood(log, "mallory", 60)
        await one.look()
        assert any(message.startswith("learning_set_back") for message in caplog.messages)
        assert one.selects("wug them all") == "weather"

    async def test_who_selects_a_few_texts_and_is_gone_is_not_misled_either(self, log, store) -> None:
        one = Producer("one", log, store)
        await store.save(stored(one.registry, "wug", "weather"), promote=True)
        await _flood(log, "mallory", 60)
        await one.learning.catch_up()
        assert one.selects("wug them all") == "weather"

    async def test_good_feedback_is_kept(self, log, store, caplog, monkeypatch) -> None:
        monkeypatch.setattr(module, "GUARD_EVERY", 30)
        one = Producer("one", log, store)
        await store.save(stored(one.registry, "wug", "weather"), promote=True)
        await one.look()
        for n in range(40):
            await log.append(right(f"frobnicate gizmo {n}", "mail.send", f"user {n}"), producer="other")
        await one.look()
        assert caplog.messages == []
        assert one.selects("frobnicate gizmo 7", "user 7") == "mail.send"

    async def test_the_next_model_hears_everybody_again(self, log, store, monkeypatch) -> None:
        one = Producer("one", log, store)
        one.learning._ignored = frozenset({"ann"})
        await one.learning.give(right("frobnicate the gizmo", "weather", "ann"))
        assert one.selects("frobnicate the gizmo", "ann") is None
        await store.save(stored(one.registry, "wug", "weather"), promote=True)
        await one.look()
        assert one.selects("frobnicate the gizmo", "ann") == "weather"

    async def test_the_sources_that_are_counted_are_bounded(self, log, store, monkeypatch) -> None:
        monkeypatch.setattr(module, "MAX_SOURCES", 10)
        monkeypatch.setattr(module, "CHUNK", 5)
        learning = Learning(Recorder(), registry=Registry(), producer="one", settings=Settings())
        learning.connect(log, store)
        for n in range(100):
            await log.append(Feedback(text="x", verdict=Verdict.NOTHING, source=f"{n}"), producer="other")
        await learning.look()
        assert len(learning._said) <= 10
