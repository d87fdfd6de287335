"""A dispatcher for users' unit tests: what was dispatched can be asserted, and how it ends can be said beforehand."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import pytest

from dispatcher import Cancelled, Dispatcher, ErrorInfo, Expired, Failed, Registry, Succeeded
from dispatcher.errors import (
    CallCancelledError,
    CallExpiredError,
    CallFailedError,
    IdempotencyConflictError,
    InvalidArgumentsError,
    ResultError,
    SettingsError,
    UnknownFunctionError,
    UnknownJobError,
)
from dispatcher.model.call import Call
from dispatcher.model.outcome import ErrorKind
from dispatcher.testing import (
    FakeClock,
    RecordingDispatcher,
    RecordingSyncDispatcher,
    assert_dispatched,
    assert_not_dispatched,
)

registry = Registry()


@registry.function(examples=["bill customer 7"])
def bill(customer: int, amount: Decimal = Decimal(1)) -> Decimal:
    """Bill a customer."""
    return amount * 2


@registry.function
async def greet(name: str) -> str:
    """Greet somebody."""
    return f"hello {name}"


@pytest.fixture
async def recorder() -> AsyncIterator[RecordingDispatcher]:
    async with RecordingDispatcher(registry, clock=FakeClock()) as started:
        yield started


class TestRecording:
    async def test_code_under_test_takes_it_for_a_dispatcher(self, recorder: RecordingDispatcher) -> None:
        async def code(dispatcher: Dispatcher) -> str:
            return (await dispatcher.dispatch(bill.call(7), delay=timedelta(seconds=5), priority="high")).id

        job_id = await code(recorder)
        (recorded,) = recorder.calls
        assert (recorded.call, recorded.job_id) == (bill.call(7), job_id)
        assert (recorded.delay, recorded.priority) == (timedelta(seconds=5), "high")
        assert recorded.arguments == {"customer": 7}

    async def test_it_must_be_started_like_any_dispatcher(self) -> None:
        with pytest.raises(SettingsError, match="not started"):
            await RecordingDispatcher(registry).dispatch(bill.call(7))

    async def test_arguments_and_names_are_checked_as_ever(self, recorder: RecordingDispatcher) -> None:
        with pytest.raises(InvalidArgumentsError):
            bill.bind({"customer": "seven"})
        with pytest.raises(UnknownFunctionError):
            await recorder.dispatch(Call(function="gone", version="1", arguments="{}"))
        assert recorder.calls == []

    async def test_a_repeated_key_is_one_job(self, recorder: RecordingDispatcher) -> None:
        recorder.answer(bill, Decimal(3))
        first = await recorder.dispatch(bill.call(7), idempotency_key="k")
        again = await recorder.dispatch(bill.call(7), idempotency_key="k")
        assert (again.id, again.repeated, first.repeated) == (first.id, True, False)
        assert await again.result() == Decimal(3)
        with pytest.raises(IdempotencyConflictError):
            await recorder.dispatch(bill.call(8), idempotency_key="k")
        assert len(recorder.calls) == 1

    async def test_cancelling_is_recorded(self, recorder: RecordingDispatcher) -> None:
        open_job = await recorder.dispatch(greet.call("you"))
        assert await open_job.cancel("no")
        recorder.answer(greet, "hi")
        ended = await recorder.dispatch(greet.call("you"))
        assert not await ended.cancel()
        assert recorder.cancelled == [open_job.id, ended.id]
        with pytest.raises(UnknownJobError):
            await recorder.cancel("nobody")

    async def test_handles_are_found_again(self, recorder: RecordingDispatcher) -> None:
        made = await recorder.dispatch(greet.call("you"))
        assert await recorder.handle(made.id) is made
        with pytest.raises(UnknownJobError):
            await recorder.handle("nobody")
        with pytest.raises(UnknownJobError):
            await made.status()
        assert await recorder.flush()


class TestAnswers:
    async def test_a_value_comes_back_typed(self, recorder: RecordingDispatcher) -> None:
        recorder.answer(bill, Decimal("12.50"))
        handle = await recorder.dispatch(bill.call(7))
        assert handle.done
        assert await handle.result() == Decimal("12.50")
        assert await handle.outcome() == Succeeded(value=Decimal("12.50"), attempts=1)

    async def test_a_value_the_function_could_not_return_is_refused(self, recorder: RecordingDispatcher) -> None:
        recorder.answer(bill, "a lot")  # type: ignore[arg-type]
        with pytest.raises(ResultError):
            await recorder.dispatch(bill.call(7))

    async def test_an_exception_is_a_failure(self, recorder: RecordingDispatcher) -> None:
        recorder.answer(bill, ConnectionError("busy"))
        with pytest.raises(CallFailedError, match="ConnectionError: busy"):
            await (await recorder.dispatch(bill.call(7))).result()

    async def test_an_outcome_is_itself(self, recorder: RecordingDispatcher) -> None:
        failed = Failed(error=ErrorInfo(kind=ErrorKind.LOST, type="Lost", message="gone"))
        for outcome, error in (
            (failed, CallFailedError),
            (Cancelled(reason="enough"), CallCancelledError),
            (Expired(), CallExpiredError),
        ):
            recorder.answer(bill, outcome)
            handle = await recorder.dispatch(bill.call(7))
            assert type(await handle.outcome()) is type(outcome)
            with pytest.raises(error):
                await handle.result()
        recorder.answer(bill, Succeeded(value=Decimal(1)))
        assert await (await recorder.dispatch(bill.call(7))).result() == Decimal(1)

    async def test_something_to_call_is_called_with_the_arguments(self, recorder: RecordingDispatcher) -> None:
        recorder.answer(bill, bill.callable)
        recorder.answer(greet, greet.callable)
        assert await (await recorder.dispatch(bill.call(7, Decimal(4)))).result() == Decimal(8)
        assert await (await recorder.dispatch(greet.call("you"))).result() == "hello you"

        def refuse(customer: int, amount: Decimal) -> Decimal:
            raise PermissionError(customer, amount)

        recorder.answer(bill, refuse)
        assert isinstance(await (await recorder.dispatch(bill.call(7, Decimal(4)))).outcome(), Failed)

    async def test_a_forgotten_answer_is_said_and_not_waited_for(self, recorder: RecordingDispatcher) -> None:
        handle = await recorder.dispatch(bill.call(7))
        assert not handle.done
        with pytest.raises(AssertionError, match=r"no answer was set for bill; call answer\(bill"):
            await handle.result()

    async def test_everything_that_dispatches_is_recorded_and_answered(self, recorder: RecordingDispatcher) -> None:
        recorder.answer(bill, lambda customer: Decimal(customer))  # noqa: PLW0108 - called by name
        gathered = await recorder.gather(bill.call(1), bill.call(2))
        mapped = [outcome async for outcome in recorder.map(bill, [{"customer": n} for n in (3, 4, 5)])]
        handles = [await recorder.dispatch(bill.call(6))]
        completed = [await handle.result() async for handle in recorder.as_completed(handles)]
        text = await (await recorder.dispatch_text("bill customer 7", {"customer": 7})).result()
        values = [outcome.value for outcome in [*gathered, *mapped] if isinstance(outcome, Succeeded)]
        assert [*values, *completed, text] == [1, 2, 3, 4, 5, 6, 7]
        assert len(recorder.calls) == 7


class TestAssertions:
    async def test_a_function_with_whatever_arguments_or_a_call_with_these(self, recorder: RecordingDispatcher) -> None:
        await recorder.dispatch(bill.call(7))
        await recorder.dispatch(bill.call(8), idempotency_key="k")
        assert len(assert_dispatched(recorder, bill)) == 2
        (found,) = assert_dispatched(recorder, bill.call(8), times=1, idempotency_key="k")
        assert found.arguments == {"customer": 8}
        assert_not_dispatched(recorder, bill.call(9))
        assert_not_dispatched(recorder, greet)

    async def test_a_failed_assertion_lists_what_was_dispatched(self, recorder: RecordingDispatcher) -> None:
        with pytest.raises(AssertionError, match="dispatched at least once, and was 0 times; dispatched: nothing"):
            assert_dispatched(recorder, bill)
        await recorder.dispatch(bill.call(7))
        for check in (
            lambda: assert_dispatched(recorder, bill.call(8)),
            lambda: assert_dispatched(recorder, bill, times=2),
            lambda: assert_dispatched(recorder, bill, idempotency_key="k"),
            lambda: assert_not_dispatched(recorder, bill),
        ):
            with pytest.raises(AssertionError, match=r'\n  bill\({"customer":7}\)'):
                check()

    def test_the_same_without_asyncio(self) -> None:
        with RecordingSyncDispatcher(registry) as dispatcher:
            dispatcher.recorder.answer(bill, Decimal(3))
            assert dispatcher.dispatch(bill.call(7)).result() == Decimal(3)
            assert [outcome.value for outcome in dispatcher.map(bill, [{"customer": 8}])] == [Decimal(3)]  # type: ignore[union-attr]
            assert_dispatched(dispatcher, bill, times=2)
            assert_not_dispatched(dispatcher, greet)
