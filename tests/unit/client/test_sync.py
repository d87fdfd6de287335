"""The face without asyncio has the same methods, and may be shared between threads."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from dispatcher.client.dispatcher import Dispatcher
from dispatcher.client.handle import Handle
from dispatcher.client.sync import SyncDeadLetters, SyncDispatcher, SyncHandle
from dispatcher.errors import (
    CallFailedError,
    InvalidArgumentsError,
    SettingsError,
    UnknownFunctionError,
    UnknownJobError,
)
from dispatcher.model.outcome import Failed, Outcome, Succeeded
from dispatcher.registry.registry import Registry
from dispatcher.testing import RecordingSyncDispatcher
from dispatcher.transport.dead_letters import DeadLetters

registry = Registry()


@registry.function
def double(number: int) -> int:
    """Double."""
    return number * 2


@pytest.fixture
def dispatcher() -> Iterator[RecordingSyncDispatcher]:
    with RecordingSyncDispatcher(registry) as dispatcher:
        dispatcher.recorder.answer(double, double.callable)
        yield dispatcher


def methods_of(cls: type) -> dict[str, Callable[..., Any]]:
    return {name: member for name, member in inspect.getmembers(cls, callable) if not name.startswith("_")}


def properties_of(cls: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(cls, lambda member: isinstance(member, property)) if name[0] != "_"}


def parameters_of(function: Callable[..., Any]) -> list[tuple[str, object, object, str]]:
    """Names, kinds, defaults and types, with what blocks named as what is awaited, and iterables of either kind alike."""
    return [
        (parameter.name, parameter.kind, parameter.default, spoken_of(parameter.annotation))
        for parameter in inspect.signature(function).parameters.values()
    ]


def spoken_of(annotation: object) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = text.replace("SyncHandle", "Handle").replace("client.sync.", "client.handle.")
    return text.split(" | collections.abc.AsyncIterable")[0]


#: Each face, and what it need not mirror: `Dispatcher.dispatch_job` and what handles on its jobs can do are for `map`;
#: `run` is what the face stands on.
FACES = [
    (SyncDispatcher, Dispatcher, {"dispatch_job"}, {"run"}),
    (SyncHandle, Handle, {"outcomes", "record"}, set()),
    (SyncDeadLetters, DeadLetters, set(), set()),
]


@pytest.mark.parametrize(("face", "inner", "inner_only", "face_only"), FACES)
def test_the_face_has_the_methods_of_what_stands_behind_it(
    face: type, inner: type, inner_only: set[str], face_only: set[str]
) -> None:
    assert set(methods_of(face)) - face_only == set(methods_of(inner)) - inner_only
    assert properties_of(face) >= properties_of(inner)


def test_a_handle_tells_all_that_the_handle_behind_it_tells(dispatcher: RecordingSyncDispatcher) -> None:
    handle = dispatcher.dispatch(double.call(1))
    ours, theirs = ({name for name in dir(one) if not name.startswith("_")} for one in (handle, handle._handle))
    assert ours == theirs - {"outcomes", "record"}
    assert handle.deadline_at == handle._handle.deadline_at


@pytest.mark.parametrize(("face", "inner", "inner_only", "face_only"), FACES)
def test_each_method_takes_the_same_arguments(
    face: type, inner: type, inner_only: set[str], face_only: set[str]
) -> None:
    shared = set(methods_of(face)) - face_only
    ours = {name: parameters_of(methods_of(face)[name]) for name in shared}
    assert ours == {name: parameters_of(methods_of(inner)[name]) for name in shared}


@pytest.mark.parametrize(("face", "inner", "inner_only", "face_only"), FACES)
def test_no_method_of_the_face_must_be_awaited(
    face: type, inner: type, inner_only: set[str], face_only: set[str]
) -> None:
    assert not any(inspect.iscoroutinefunction(method) for method in methods_of(face).values())


def test_making_one_takes_the_same_arguments() -> None:
    inner = [parameter for parameter in parameters_of(Dispatcher.__init__) if parameter[0] != "clock"]
    assert parameters_of(SyncDispatcher.__init__) == inner


USES: list[Callable[[SyncDispatcher], object]] = [
    lambda d: d.dispatch(double.call(1)),
    lambda d: d.dispatch_text("double one"),
    lambda d: d.select("double one"),
    lambda d: d.run_tool_calls([], format="anthropic"),
    lambda d: list(d.map(double, [{"number": 1}])),
    lambda d: d.gather(double.call(1)),
    lambda d: d.handle("job"),
    lambda d: d.status("job"),
    lambda d: d.cancel("job"),
    lambda d: d.dead_letters.count(),
    lambda d: d.flush(),
]


@pytest.mark.parametrize("use", USES)
def test_use_before_the_start_says_how_to_start(use: Callable[[SyncDispatcher], object]) -> None:
    with pytest.raises(SettingsError, match="is not started"):
        use(RecordingSyncDispatcher(registry))


@pytest.mark.parametrize("use", USES)
def test_use_after_the_end_says_so_too(use: Callable[[SyncDispatcher], object]) -> None:
    dispatcher = RecordingSyncDispatcher(registry)
    with dispatcher:
        pass
    with pytest.raises(SettingsError, match="is not started"):
        use(dispatcher)


def test_a_handle_that_outlives_its_dispatcher_says_so() -> None:
    with RecordingSyncDispatcher(registry) as dispatcher:
        dispatcher.recorder.answer(double, 4)
        handle = dispatcher.dispatch(double.call(2))
    assert handle.done
    with pytest.raises(SettingsError):
        handle.result()


def test_starting_and_closing_twice_does_no_harm() -> None:
    dispatcher = RecordingSyncDispatcher(registry)
    dispatcher.start()
    dispatcher.start()
    dispatcher.close()
    dispatcher.close()
    dispatcher.start()
    assert dispatcher.flush()
    dispatcher.close()


def test_closing_ends_the_thread(dispatcher: RecordingSyncDispatcher) -> None:
    thread = dispatcher._thread
    assert thread is not None
    assert thread.is_alive()
    dispatcher.close()
    assert not thread.is_alive()


def test_a_start_that_fails_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        msg = "no server"
        raise SettingsError(msg)

    dispatcher = RecordingSyncDispatcher(registry)
    monkeypatch.setattr(dispatcher.recorder, "start", fail)
    with pytest.raises(SettingsError, match="no server"):
        dispatcher.start()
    assert dispatcher._thread is not None
    assert not dispatcher._thread.is_alive()
    with pytest.raises(SettingsError, match="not started"):
        dispatcher.flush()


def test_a_closing_that_fails_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        msg = "the server would not let go"
        raise OSError(msg)

    dispatcher = RecordingSyncDispatcher(registry)
    dispatcher.start()
    monkeypatch.setattr(dispatcher.recorder, "close", fail)
    with pytest.raises(OSError, match="let go"):
        dispatcher.close()
    assert dispatcher._thread is not None
    assert not dispatcher._thread.is_alive()


def test_a_call_is_dispatched_and_its_outcome_waited_for(dispatcher: RecordingSyncDispatcher) -> None:
    handle = dispatcher.dispatch(double.call(4), idempotency_key="once")
    assert (handle.function, handle.repeated, handle.cached, handle.done) == ("double", False, False, True)
    assert handle.outcome() == Succeeded(value=8)
    assert handle.result(timedelta(seconds=1)) == 8
    again = dispatcher.dispatch(double.call(4), idempotency_key="once")
    assert (again.id, again.repeated) == (handle.id, True)
    assert repr(again) == repr(again._handle)


def test_what_is_invalidated_is_named_as_in_the_other_face(dispatcher: RecordingSyncDispatcher) -> None:
    dispatcher.invalidate(double)
    assert not dispatcher.dispatch(double.call(4)).shared
    with pytest.raises(UnknownFunctionError):
        dispatcher.invalidate("nobody's")
    with pytest.raises(ValueError, match="say what to invalidate"):
        dispatcher.invalidate(double, tag="numbers")


def test_errors_come_as_they_are(dispatcher: RecordingSyncDispatcher) -> None:
    with pytest.raises(UnknownJobError):
        dispatcher.handle("nobody's")
    with pytest.raises(InvalidArgumentsError):
        registry.bind("double", {"number": "many"})
    dispatcher.recorder.answer(double, ValueError("no luck"))
    with pytest.raises(CallFailedError, match="no luck"):
        dispatcher.dispatch(double.call(1)).result()


def test_many_calls_give_their_outcomes_in_order(dispatcher: RecordingSyncDispatcher) -> None:
    assert dispatcher.gather(*(double.call(number) for number in range(3))) == [
        Succeeded(value=0),
        Succeeded(value=2),
        Succeeded(value=4),
    ]
    handles = [dispatcher.dispatch(double.call(number)) for number in range(3)]
    assert {handle.id for handle in dispatcher.as_completed(handles)} == {handle.id for handle in handles}


def test_handles_come_back_as_those_that_were_given(dispatcher: RecordingSyncDispatcher) -> None:
    handle = dispatcher.dispatch(double.call(1))
    assert list(dispatcher.as_completed([handle])) == [handle]


def test_an_iteration_may_be_left_half_way() -> None:
    with RecordingSyncDispatcher(registry) as dispatcher:
        dispatcher.recorder.answer(double, 0)
        outcomes = dispatcher.map(double, ({"number": number} for number in range(1_000)), window=4)
        assert next(outcomes) == Succeeded(value=0)
        assert len(dispatcher.recorder.calls) < 1_000


def test_several_threads_may_share_one(dispatcher: RecordingSyncDispatcher) -> None:
    together = threading.Barrier(8)

    def use(thread: int) -> list[Outcome[int]]:
        together.wait()
        given: list[dict[str, object]] = [{"number": thread}, {"number": "many"}]
        return [dispatcher.dispatch(double.call(thread)).outcome(), *dispatcher.map(double, given)]

    with ThreadPoolExecutor(8) as pool:
        for thread, (dispatched, mapped, refused) in enumerate(pool.map(use, range(8))):
            assert dispatched == mapped == Succeeded(value=thread * 2)
            assert isinstance(refused, Failed)


def test_closing_leaves_no_thread_waiting_for_ever() -> None:
    dispatcher = RecordingSyncDispatcher(registry)
    dispatcher.start()
    begun, told = threading.Event(), threading.Event()

    async def wait_for_ever() -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    def use() -> None:
        with pytest.raises(SettingsError, match="closed"):
            dispatcher.run(wait_for_ever())
        told.set()

    threading.Thread(target=use, daemon=True).start()
    assert begun.wait(5)
    dispatcher.close()
    assert told.wait(5)


def test_use_while_another_thread_closes_says_so(dispatcher: RecordingSyncDispatcher) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    used, dispatcher._loop = dispatcher._loop, loop
    try:
        with pytest.raises(SettingsError, match="closed"):
            dispatcher.flush()
    finally:
        dispatcher._loop = used


async def test_it_may_be_used_where_a_loop_runs_already_as_in_a_notebook() -> None:
    with RecordingSyncDispatcher(registry) as dispatcher:
        dispatcher.recorder.answer(double, 4)
        assert dispatcher.dispatch(double.call(2)).result() == 4
