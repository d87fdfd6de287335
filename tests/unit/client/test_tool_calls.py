"""Every tool call of a response is answered under its own id, whatever became of it."""

import asyncio
import json
from datetime import timedelta
from typing import Any, cast

import pytest

from dispatcher.client.dispatcher import Dispatcher
from dispatcher.client.tool_calls import run_tool_calls
from dispatcher.errors import (
    Acceptance,
    BacklogFullError,
    InvalidToolCallError,
    OutcomeTimeoutError,
    ResultError,
    ServerUnreachableError,
)
from dispatcher.model.call import Call
from dispatcher.model.outcome import Cancelled, ErrorInfo, ErrorKind, Expired, Failed, Outcome, Succeeded
from dispatcher.registry.registry import Registry
from tests.unit.client.fakes import ADDRESS, settle

registry = Registry()


@registry.function(aliases=["say"])
def echo(text: str) -> str:
    """Say it again."""
    return text


@registry.function
def other() -> None:
    """Do something else."""


class FakeHandle:
    """Ends as it is told, when the dispatcher lets it."""

    def __init__(self, dispatcher: "FakeDispatcher", ending: Outcome[object] | Exception) -> None:
        self._dispatcher = dispatcher
        self._ending = ending

    async def outcome(self, timeout: timedelta | None) -> Outcome[object]:  # noqa: ASYNC109 - as `Handle.outcome`
        self._dispatcher.timeouts.append(timeout)
        await self._dispatcher.gate.wait()
        if isinstance(self._ending, Exception):
            raise self._ending
        return self._ending


class FakeDispatcher:
    """Ends each call as `endings` has it by its text, or with the text; `refusals` are raised from the dispatch."""

    def __init__(self) -> None:
        self.registry = registry
        self.endings: dict[str, Outcome[object] | Exception] = {}
        self.refusals: dict[str, Exception] = {}
        self.dispatched: list[str] = []
        self.timeouts: list[timedelta | None] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def dispatch(self, call: Call[object]) -> FakeHandle:
        text = json.loads(call.arguments)["text"]
        self.dispatched.append(text)
        if text in self.refusals:
            raise self.refusals[text]
        return FakeHandle(self, self.endings.get(text, Succeeded(value=text)))

    async def run(self, *texts: object, timeout: timedelta | None = None) -> list[dict[str, Any]]:  # noqa: ASYNC109
        """The tool results of an Anthropic response that asks for these echoes, as `id-0`, `id-1`, …"""
        calls = [
            {"type": "tool_use", "id": f"id-{index}", "name": "echo", "input": {"text": text}}
            for index, text in enumerate(texts)
        ]
        return await run_tool_calls(cast("Dispatcher", self), calls, "anthropic", timeout)


@pytest.fixture
async def dispatcher() -> FakeDispatcher:
    return FakeDispatcher()


def results_of(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tool results, whether they stand in a message or alone."""
    return [part for message in messages for part in message.get("content", [message])]


async def test_results_come_in_the_order_of_the_calls_under_their_ids(dispatcher: FakeDispatcher) -> None:
    results = results_of(await dispatcher.run("a", "b", "c"))
    assert [result["tool_use_id"] for result in results] == ["id-0", "id-1", "id-2"]
    assert [str(result["content"]) for result in results] == ["a", "b", "c"]


@pytest.mark.parametrize(("only", "runs"), [(["echo"], True), (["say"], True), (["other", "gone"], False), ([], False)])
async def test_a_function_that_the_model_was_not_offered_is_not_run_and_is_unknown_to_it(
    dispatcher: FakeDispatcher, only: list[str], runs: bool
) -> None:
    calls = [{"type": "tool_use", "id": "1", "name": "echo", "input": {"text": "a"}}]
    (result,) = results_of(await run_tool_calls(cast("Dispatcher", dispatcher), calls, "anthropic", None, only))
    assert dispatcher.dispatched == (["a"] if runs else [])
    assert runs or "no function is registered as 'echo'" in str(result["content"])


async def test_all_calls_are_under_way_at_once(dispatcher: FakeDispatcher) -> None:
    dispatcher.gate.clear()
    running = asyncio.create_task(dispatcher.run("a", "b", "c"))
    await settle()
    assert dispatcher.dispatched == ["a", "b", "c"]
    dispatcher.gate.set()
    assert len(results_of(await running)) == 3


async def test_a_call_that_does_not_fit_is_answered_and_not_dispatched(dispatcher: FakeDispatcher) -> None:
    results = results_of(await dispatcher.run("a", {"not": "text"}, "c"))
    assert dispatcher.dispatched == ["a", "c"]
    assert [result.get("is_error", False) for result in results] == [False, True, False]
    assert "invalid_arguments" in str(results[1]["content"])
    assert results[1]["tool_use_id"] == "id-1"


@pytest.mark.parametrize(
    ("ending", "word"),
    [
        (Failed(error=ErrorInfo(kind=ErrorKind.FUNCTION, type="ValueError", message="no luck")), "no luck"),
        (Cancelled(reason="not wanted"), "not wanted"),
        (Expired(), "expired"),
        (OutcomeTimeoutError("job-1", timedelta(seconds=1)), "outcome_timeout"),
        (ServerUnreachableError(ADDRESS, "gone", accepted=Acceptance.YES), "server_unreachable"),
        (ResultError("it does not fit"), "result"),
    ],
)
async def test_however_a_call_ends_is_its_own_result_and_spoils_no_other(
    ending: Outcome[object] | Exception, word: str, dispatcher: FakeDispatcher
) -> None:
    dispatcher.endings["b"] = ending
    results = results_of(await dispatcher.run("a", "b", "c"))
    assert [result["tool_use_id"] for result in results] == ["id-0", "id-1", "id-2"]
    assert [result.get("is_error", False) for result in results] == [False, True, False]
    assert word in str(results[1]["content"])


@pytest.mark.parametrize(
    ("refusal", "word"),
    [
        (BacklogFullError("default", 1), "backlog_full"),
        (ServerUnreachableError(ADDRESS, "gone", accepted=Acceptance.UNKNOWN), "server_unreachable"),
    ],
)
async def test_a_call_that_is_not_accepted_is_its_own_result_and_spoils_no_other(
    refusal: Exception, word: str, dispatcher: FakeDispatcher
) -> None:
    dispatcher.refusals["b"] = refusal
    results = results_of(await dispatcher.run("a", "b", "c"))
    assert [result.get("is_error", False) for result in results] == [False, True, False]
    assert word in str(results[1]["content"])


async def test_the_timeout_is_that_of_each_wait(dispatcher: FakeDispatcher) -> None:
    await dispatcher.run("a", "b", timeout=timedelta(seconds=9))
    assert dispatcher.timeouts == [timedelta(seconds=9)] * 2


async def test_a_response_of_no_known_format_is_refused(dispatcher: FakeDispatcher) -> None:
    with pytest.raises(InvalidToolCallError):
        await run_tool_calls(cast("Dispatcher", dispatcher), 42, None, None)
    assert dispatcher.dispatched == []
