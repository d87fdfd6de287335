"""Every error of the tree can be met, and says whether the call was accepted."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatcher import Dispatcher, Registry, Settings
from dispatcher.errors import (
    Acceptance,
    ArgumentLimitError,
    BacklogFullError,
    CallCancelled,
    CallCancelledError,
    CallExpiredError,
    CallFailedError,
    CallNotSucceededError,
    CallRefusedError,
    CallTimedOut,
    DispatcherError,
    FeedbackRefusedError,
    FunctionSignal,
    GiveUp,
    IdempotencyConflictError,
    Interrupted,
    InvalidArgumentsError,
    InvalidToolCallError,
    LeaseLost,
    ModelError,
    NoFunctionSelectedError,
    NoSelectionError,
    NoServerError,
    OutcomeTimeoutError,
    RegistrationError,
    ResultError,
    RetryLater,
    ServerAuthError,
    ServerError,
    ServerFullError,
    ServerUnreachableError,
    ServerUnusableError,
    SettingsError,
    UnknownFunctionError,
    UnknownJobError,
)
from dispatcher.selection.folder import FolderModelStore
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance import functions
from tests.acceptance.helpers import LONG, Marks, soon


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What the errors are made with."""

    dispatcher: Dispatcher
    #: A server that nobody works for, to be spoilt and mended.
    lonely: EmbeddedServer
    marks: Marks
    label: str
    folder: Path

    @asynccontextmanager
    async def alone(self, **settings: Any) -> AsyncIterator[Dispatcher]:
        settings = {"url": self.lonely.url, "dispatch_timeout_seconds": 0.5} | settings
        async with Dispatcher(functions.registry, settings=Settings.load(**settings)) as dispatcher:
            yield dispatcher


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("lonely"), persist=False) as server:
        yield server


@pytest.fixture
def bench(dispatcher: Dispatcher, lonely: EmbeddedServer, marks: Marks, label: str, tmp_path: Path) -> Bench:
    return Bench(dispatcher=dispatcher, lonely=lonely, marks=marks, label=label, folder=tmp_path)


# --- how each is met


async def wrong_setting(_: Bench) -> None:
    Settings.load(lease_seconds=-1)


async def unregistrable(_: Bench) -> None:
    @Registry().function
    def untyped(value): ...


async def replay_of_a_job_that_lives(bench: Bench) -> None:
    job = await bench.dispatcher.dispatch(functions.add.call(1))
    await job.result(LONG)
    await bench.dispatcher.dead_letters.replay(job.id)


async def unknown_function(bench: Bench) -> None:
    await bench.dispatcher.dispatch(functions.registry.bind("ad", {}))


async def wrong_arguments(_: Bench) -> None:
    functions.add.bind({"a": "1"})


async def arguments_beyond_json(_: Bench) -> None:
    functions.check.call(1, ratio=float("nan"))


async def no_tool_call(bench: Bench) -> None:
    await bench.dispatcher.run_tool_calls({"what": "is this"})


async def text_for_no_function(bench: Bench) -> None:
    await bench.dispatcher.dispatch_text("xyzzy plugh")


async def too_much_said_by_one(bench: Bench) -> None:
    async with bench.alone(feedback_per_source=2, namespace=bench.label, encoder="none") as dispatcher:
        selection = await dispatcher.select("tell me a joke")
        for _ in range(3):
            await dispatcher.feedback(selection, nothing=True, source="ann")


async def model_of_nowhere(bench: Bench) -> None:
    await FolderModelStore(bench.folder).load("no-such")


async def feedback_on_a_named_call(bench: Bench) -> None:
    job = await bench.dispatcher.dispatch(functions.add.call(1))
    await job.feedback(right=True)


async def key_used_before(bench: Bench) -> None:
    for number in (1, 2):
        await bench.dispatcher.dispatch(functions.add.call(number), idempotency_key=bench.label)


async def full_backlog(bench: Bench) -> None:
    async with bench.alone(max_backlog=2, namespace=bench.label) as dispatcher:
        for number in range(3):
            await dispatcher.dispatch(functions.add.call(number))


async def no_server(bench: Bench) -> None:
    nowhere = bench.folder / "a file"
    nowhere.write_text("")
    async with Dispatcher(functions.registry, settings=Settings.load(state_dir=nowhere)):
        pass


async def closed_port(bench: Bench) -> None:
    async with bench.alone(url="redis://127.0.0.1:1/0"):
        pass


async def wrong_password(bench: Bench) -> None:
    host = bench.lonely.url.rpartition("@")[2]
    async with bench.alone(url=f"redis://:wrong@{host}"):
        pass


async def full_server(bench: Bench) -> None:
    with connect(bench.lonely.url) as admin:
        async with bench.alone() as dispatcher:
            admin.config_set("maxmemory", 1)
            try:
                await dispatcher.dispatch(functions.add.call(1))
            finally:
                admin.config_set("maxmemory", 0)


async def read_only_replica(bench: Bench) -> None:
    with connect(bench.lonely.url) as admin:
        async with bench.alone() as dispatcher:
            admin.replicaof("127.0.0.1", 1)
            try:
                await dispatcher.dispatch(functions.add.call(1))
            finally:
                admin.replicaof("NO", "ONE")


async def job_of_nobody(bench: Bench) -> None:
    await bench.dispatcher.handle("no-such-job")


async def impatience(bench: Bench) -> None:
    job = await bench.dispatcher.dispatch(functions.add.call(1), delay=timedelta(seconds=0.5))
    try:
        await job.outcome(timedelta(seconds=0.05))
    finally:
        await job.cancel()


async def failure(bench: Bench) -> None:
    await (await bench.dispatcher.dispatch(functions.fail.call())).result(LONG)


async def cancellation(bench: Bench) -> None:
    job = await bench.dispatcher.dispatch(functions.add.call(1), delay=timedelta(minutes=1))
    await job.cancel()
    await job.result(LONG)


async def expiry(bench: Bench) -> None:
    soonest = timedelta(seconds=0.05)
    await (await bench.dispatcher.dispatch(functions.add.call(1), delay=LONG, deadline=soonest)).result(LONG)


async def result_of_another_type(bench: Bench) -> None:
    other = Registry()

    @other.function
    def add(a: int) -> list[str]:
        """Not what the worker runs."""
        return [str(a)]

    async with Dispatcher(other, settings=bench.dispatcher.settings) as dispatcher:
        await (await dispatcher.dispatch(add.call(1))).result(LONG)


MET_BY: dict[type[DispatcherError], tuple[Callable[[Bench], Awaitable[None]], Acceptance]] = {
    SettingsError: (wrong_setting, Acceptance.NO),
    RegistrationError: (unregistrable, Acceptance.NO),
    ModelError: (model_of_nowhere, Acceptance.NO),
    NoSelectionError: (feedback_on_a_named_call, Acceptance.NO),
    FeedbackRefusedError: (too_much_said_by_one, Acceptance.NO),
    CallRefusedError: (replay_of_a_job_that_lives, Acceptance.NO),
    UnknownFunctionError: (unknown_function, Acceptance.NO),
    InvalidArgumentsError: (wrong_arguments, Acceptance.NO),
    ArgumentLimitError: (arguments_beyond_json, Acceptance.NO),
    InvalidToolCallError: (no_tool_call, Acceptance.NO),
    NoFunctionSelectedError: (text_for_no_function, Acceptance.NO),
    IdempotencyConflictError: (key_used_before, Acceptance.NO),
    BacklogFullError: (full_backlog, Acceptance.NO),
    NoServerError: (no_server, Acceptance.NO),
    ServerUnreachableError: (closed_port, Acceptance.NO),
    ServerAuthError: (wrong_password, Acceptance.NO),
    ServerFullError: (full_server, Acceptance.NO),
    ServerUnusableError: (read_only_replica, Acceptance.NO),
    UnknownJobError: (job_of_nobody, Acceptance.NO),
    OutcomeTimeoutError: (impatience, Acceptance.YES),
    CallFailedError: (failure, Acceptance.YES),
    CallCancelledError: (cancellation, Acceptance.YES),
    CallExpiredError: (expiry, Acceptance.YES),
    ResultError: (result_of_another_type, Acceptance.YES),
}

#: Never raised themselves: to be caught.
GROUPS = {DispatcherError, ServerError, CallNotSucceededError}


@pytest.mark.parametrize("kind", MET_BY, ids=lambda kind: kind.__name__)
async def test_an_error_is_met_and_says_whether_the_call_was_accepted(
    bench: Bench, kind: type[DispatcherError]
) -> None:
    meet, accepted = MET_BY[kind]
    with pytest.raises(DispatcherError) as caught:
        await meet(bench)
    assert type(caught.value) is kind
    assert caught.value.accepted is accepted
    assert len(str(caught.value)) > 10
    if isinstance(caught.value, ServerError):
        assert caught.value.address in str(caught.value)


def test_no_error_of_the_tree_is_left_out() -> None:
    assert tree(DispatcherError) == set(MET_BY) | GROUPS
    codes = [kind.code for kind in tree(DispatcherError)]
    assert len(set(codes)) == len(codes), "a code names one error"


def tree(root: type) -> set[type]:
    return {root}.union(*(tree(kind) for kind in root.__subclasses__() if kind.__module__ == "dispatcher.errors"))


# --- the words between a function and what runs it


async def retry_later(bench: Bench) -> None:
    job = await bench.dispatcher.dispatch(functions.later.call(bench.label, 10))
    assert await job.result(LONG) == 2


async def giving_up(bench: Bench) -> None:
    outcome = await (await bench.dispatcher.dispatch(functions.give_up.call(bench.label))).outcome(LONG)
    assert outcome.error.type == "dispatcher.errors.GiveUp"


async def stopped(bench: Bench, reason: str, *, hard: bool = False) -> None:
    job = await bench.dispatcher.dispatch(functions.swallow.call(bench.label, 60), deadline=timedelta(seconds=3))
    await soon(lambda: bench.marks.started(bench.label) == 1)
    if reason != "CallTimedOut":
        await job.cancel(hard=hard)
    await soon(lambda: bench.marks.count(bench.label, f"swallowed {reason}") == 1)


SIGNALS: dict[type[FunctionSignal], Callable[[Bench], Awaitable[None]]] = {
    RetryLater: retry_later,
    GiveUp: giving_up,
    CallCancelled: lambda bench: stopped(bench, "CallCancelled"),
    CallTimedOut: lambda bench: stopped(bench, "CallTimedOut"),
    LeaseLost: lambda bench: stopped(bench, "LeaseLost", hard=True),
}


@pytest.mark.parametrize("kind", SIGNALS, ids=lambda kind: kind.__name__)
async def test_a_signal_between_a_function_and_its_executor_is_met(bench: Bench, kind: type[FunctionSignal]) -> None:
    await SIGNALS[kind](bench)


def test_no_signal_is_left_out() -> None:
    assert tree(FunctionSignal) == {*SIGNALS, FunctionSignal, Interrupted}
