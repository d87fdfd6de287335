"""What people without a type checker write by mistake is refused in words, and nothing is dispatched."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from dispatcher.client.dispatcher import Dispatcher
from dispatcher.registry.registry import Registry
from dispatcher.testing import RecordingDispatcher
from tests.unit.client.fakes import NoServerDispatcher

registry = Registry()


@registry.function
def plain(number: int) -> int:
    """Do nothing much."""
    return number


@registry.function(cache=timedelta(minutes=1))
def kept(number: int) -> int:
    """Do nothing much, once."""
    return number


#: Each as wrong as a program without a type checker may be.
wrong: Any = {"number": 5, "text": "plain", "nothing": None, "function": plain}


@pytest.fixture
async def dispatcher() -> AsyncIterator[RecordingDispatcher]:
    async with RecordingDispatcher(registry) as recording:
        recording.answer(plain, 1)
        yield recording


@pytest.mark.parametrize("what", ["number", "text", "nothing"])
async def test_only_a_call_is_dispatched(dispatcher: RecordingDispatcher, what: str) -> None:
    message = rf"a call is dispatched, not {wrong[what]!r}; write function\.call\(…\), or registry\.bind"
    with pytest.raises(TypeError, match=message):
        await dispatcher.dispatch(wrong[what])
    with pytest.raises(TypeError, match=message):
        await dispatcher.gather(plain.call(1), wrong[what])
    assert dispatcher.calls == []


async def test_a_function_instead_of_a_call_of_it_is_named(dispatcher: RecordingDispatcher) -> None:
    with pytest.raises(TypeError, match="a call is dispatched, not the function plain itself"):
        await dispatcher.dispatch(wrong["function"])


@pytest.mark.parametrize("function", [plain, kept])
@pytest.mark.parametrize("option", ["deadline", "delay"])
async def test_a_number_is_no_time(dispatcher: RecordingDispatcher, function: Any, option: str) -> None:
    with pytest.raises(TypeError, match=f"{option} must be a timedelta, not 5"):
        await dispatcher.dispatch(function.call(1), **{option: wrong["number"]})
    assert dispatcher.calls == []


async def test_a_number_is_no_idempotency_key(dispatcher: RecordingDispatcher) -> None:
    with pytest.raises(TypeError, match="an idempotency key is text, not 5"):
        await dispatcher.dispatch(plain.call(1), idempotency_key=wrong["number"])


async def flush(dispatcher: Dispatcher) -> object:
    return await dispatcher.flush(wrong["number"])


async def run_tools(dispatcher: Dispatcher) -> object:
    return await dispatcher.run_tool_calls({"role": "assistant", "content": "…"}, timeout=wrong["number"])


async def complete(dispatcher: Dispatcher) -> object:
    return [handle async for handle in dispatcher.as_completed([], wrong["number"])]


@pytest.mark.parametrize("wait", [flush, run_tools, complete])
async def test_a_number_is_no_time_to_wait(wait: Callable[[Dispatcher], Awaitable[object]]) -> None:
    async with NoServerDispatcher(registry) as dispatcher:
        with pytest.raises(TypeError, match="timeout must be a timedelta, not 5"):
            await wait(dispatcher)


async def test_map_takes_a_function_and_not_its_name(dispatcher: RecordingDispatcher) -> None:
    with pytest.raises(TypeError, match=r"map calls a function of the registry, not 'plain'; registry\.get"):
        dispatcher.map(wrong["text"], [{"number": 1}])
    with pytest.raises(TypeError, match="deadline must be a timedelta, not 5"):
        dispatcher.map(plain, [{"number": 1}], deadline=wrong["number"])


async def test_feedback_is_on_a_selection(dispatcher: RecordingDispatcher) -> None:
    with pytest.raises(TypeError, match="feedback is on a Selection, not on 'plain'"):
        await dispatcher.feedback(wrong["text"], right=True)


def test_a_dispatcher_takes_a_registry_and_settings() -> None:
    with pytest.raises(TypeError, match="a Dispatcher takes a Registry, not 'plain'"):
        Dispatcher(wrong["text"])
    with pytest.raises(TypeError, match=r"settings must be Settings, not a str; write Settings\.load\(url=…\)"):
        Dispatcher(registry, settings=wrong["text"])
