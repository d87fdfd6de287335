"""Producers on a real server learn from one another: what is said to one is known to all within seconds."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis

from dispatcher import Cascade, ConversationState, Dispatcher, Settings
from dispatcher.errors import FeedbackRefusedError
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.keys import Keys
from dispatcher.transport.model_store import RedisModelStore
from dispatcher.transport.training_lock import TrainingLock
from tests.integration.ledger_rig import Rig
from tests.unit.client.talk import make_registry, stored
from tests.unit.client.test_learning import counts

#: Far longer than it takes; a test that fails says so after it.
PATIENCE = 20
ANN = ConversationState(user="ann")


@pytest.fixture
async def producers(server: EmbeddedServer, rig: Rig) -> AsyncIterator[Callable[..., Awaitable[Dispatcher]]]:
    """Starts dispatchers on one namespace, each with a registry and a selector of its own."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Dispatcher:
            registry = make_registry()
            made = Settings(
                url=server.url,
                namespace=rig.settings.namespace,
                **{"encoder": "none", "learn_interval_seconds": 0.05, **settings},
            )
            return await stack.enter_async_context(Dispatcher(registry, settings=made))

        yield start


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is so."""
    end = time.monotonic() + PATIENCE
    while not await what():
        assert time.monotonic() < end, "it never came to be"
        await asyncio.sleep(0.01)


def selects(dispatcher: Dispatcher, text: str, function: str | None, state: ConversationState | None = None):
    async def look() -> bool:
        return (await dispatcher.select(text, state)).function == function

    return look


class TestWhatIsSaid:
    async def test_it_is_known_here_at_once_and_elsewhere_soon(self, producers) -> None:
        one, other = await producers(), await producers()
        selection = await one.select("frobnicate the gizmo", ANN)
        assert (await other.select("frobnicate the gizmo", ANN)).function is None
        assert selection.function is None
        await one.feedback(selection, function="mail.send", state=ANN)
        assert (await one.select("frobnicate the gizmo", ANN)).function == "mail.send"
        await until(selects(other, "frobnicate the gizmo", "mail.send", ANN))

    async def test_a_producer_that_starts_later_knows_it_in_its_first_selection(self, producers) -> None:
        one = await producers()
        await one.feedback(await one.select("frobnicate the gizmo", ANN), function="mail.send", state=ANN)
        late = await producers()
        assert (await late.select("frobnicate the gizmo", ANN)).function == "mail.send"

    async def test_a_removed_function_is_selected_nowhere_whatever_is_kept(self, producers) -> None:
        one, other = await producers(), await producers()
        for dispatcher in (one, other):
            assert (await dispatcher.select("tell me the forecast")).function == "weather"
        for dispatcher in (one, other):
            dispatcher.registry.remove("weather")
            selection = await dispatcher.select("tell me the forecast")
            assert "weather" not in {candidate.function for candidate in selection.candidates}

    async def test_counts_of_two_that_write_at_once_are_those_of_one_that_wrote_all(self, producers, rig) -> None:
        one, other = await producers(), await producers()
        functions = ("text.count", "mail.send", "weather")
        texts = [(f"please {word} it {n}", functions[n % 3]) for n, word in enumerate(["zip", "zap", "zop"] * 6)]

        async def say(dispatcher: Dispatcher, text: str, function: str) -> None:
            await dispatcher.feedback(await dispatcher.select(text), function=function, source=text)

        await asyncio.gather(*(say((one, other)[n % 2], *said) for n, said in enumerate(texts)))
        third = await producers()
        await third.select("anything")
        learners = [dispatcher._chooser.learning for dispatcher in (one, other, third)]

        async def level() -> bool:
            return len({learner.mark for learner in learners}) == 1

        await until(level)
        alone = Cascade(make_registry())
        for text, function in texts:
            alone.learn(Feedback(text=text, verdict=Verdict.RIGHT, function=function, source=text))
        expected = counts(_Shown(alone))
        assert [counts(_Shown(d.selector)) for d in (one, other, third)] == [expected] * 3

    async def test_too_much_is_refused_and_not_learnt(self, producers, rig) -> None:
        one = await producers(feedback_per_source=2)
        selection = await one.select("frobnicate the gizmo", ANN)
        for _ in range(2):
            await one.feedback(selection, nothing=True, state=ANN)
        mark = one._chooser.learning.mark
        with pytest.raises(FeedbackRefusedError, match="'ann' would have given more than 2"):
            await one.feedback(selection, function="weather", state=ANN)
        assert one._chooser.learning.mark == mark
        assert (await one.select("frobnicate the gizmo", ANN)).function is None
        assert (rig.counts()["feedback"], rig.counts()["feedback_refused"]) == (2, 1)


class _Shown:
    """What `counts` looks at."""

    def __init__(self, selector: Cascade) -> None:
        self.selector = selector


class TestTheModelInUse:
    async def test_it_is_swapped_in_every_producer_and_rolled_back(self, producers, rig) -> None:
        one, other = await producers(), await producers()
        store = RedisModelStore(one.ledger.client, rig.keys, one.settings)
        first = stored(one.registry, "wug", "weather")
        second = stored(one.registry, "wug", "mail.send", day=1)
        assert (await one.select("wug the lot")).function is None
        assert (await other.select("wug the lot")).function is None
        await store.save(first, promote=True)
        for dispatcher in (one, other):
            await until(selects(dispatcher, "wug the lot", "weather"))
            assert (await dispatcher.select("wug the lot")).model == first.version
        await store.save(second, promote=True)
        for dispatcher in (one, other):
            await until(selects(dispatcher, "wug the lot", "mail.send"))
        await store.promote(first.version)
        for dispatcher in (one, other):
            await until(selects(dispatcher, "wug the lot", "weather"))
        late = await producers()
        assert (await late.select("wug the lot")).model == first.version

    async def test_what_was_said_since_it_was_trained_is_learnt_on_top(self, producers, rig) -> None:
        one = await producers()
        store = RedisModelStore(one.ledger.client, rig.keys, one.settings)
        await one.feedback(await one.select("frobnicate the gizmo", ANN), function="mail.send", state=ANN)
        await store.save(stored(one.registry, "wug", "weather"), promote=True)
        await until(selects(one, "wug the lot", "weather"))
        assert (await one.select("frobnicate the gizmo", ANN)).function == "mail.send"

    async def test_the_event_loop_is_not_held_while_it_comes(self, producers, rig) -> None:
        one = await producers()
        store = RedisModelStore(one.ledger.client, rig.keys, one.settings)
        await one.select("anything")
        model = stored(one.registry, "wug", "weather")
        longest = 0.0

        async def beat() -> None:
            nonlocal longest
            while True:
                before = time.monotonic()
                await asyncio.sleep(0)
                longest = max(longest, time.monotonic() - before)
                await asyncio.sleep(0.001)

        beating = asyncio.create_task(beat())
        await store.save(model, promote=True)
        await until(selects(one, "wug the lot", "weather"))
        beating.cancel()
        assert longest < 0.25, "20 ms on an idle machine; this one may be busy"


class TestNobodyWhoOnlyCalls:
    async def test_asks_the_server_for_models_or_feedback(self, producers) -> None:
        dispatcher = await producers()
        assert await dispatcher.flush()
        assert dispatcher._chooser.learning._task is None
        await dispatcher.select("anything")
        assert dispatcher._chooser.learning._task is not None


class TestTheTrainingLock:
    async def test_one_trains_at_a_time(self, producers, rig, client: redis.Redis) -> None:
        one = await producers()
        lock, other = (TrainingLock(one.ledger.client, Keys(rig.settings.namespace)) for _ in range(2))
        async with lock.held() as taken:
            assert taken
            assert 0 < client.ttl(rig.keys.trainer) <= 60
            async with other.held() as second:
                assert not second
            async with other.held() as third:
                assert not third
        async with other.held() as now:
            assert now


class TestSharedSelections:
    async def test_another_producers_selection_is_used_until_something_is_learnt(self, producers, monkeypatch) -> None:
        # As if an encoder made selecting slow: only then is the server asked.
        monkeypatch.setattr(Cascade, "uses_encoder", property(lambda _: True))
        one, other = await producers(), await producers()
        made = await one.select("tell me the forecast")
        await asyncio.gather(*one._chooser._under_way)
        assert (await other.select("tell me the forecast")) == made
        assert (other.selection_counts.shared_hits, one.selection_counts.shared_hits) == (1, 0)
        await one.feedback(made, function="text.count", state=ANN)
        await until(selects(other, "tell me the forecast", "text.count", ANN))
        other.registry.remove("text.count")
        assert (await other.select("tell me the forecast", ANN)).function != "text.count"
