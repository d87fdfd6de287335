"""What Dispatcher does, in the order in which one wants to know it. The functions are in `shop.py`."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest

from dispatcher import Cancelled, Dispatcher, Failed, Registry, Settings, Succeeded, SyncDispatcher
from dispatcher.errors import CallFailedError, IdempotencyConflictError, InvalidArgumentsError
from dispatcher.model.job import JobState
from tests.acceptance.helpers import LONG, soon
from tests.fundamentals.shop import (
    Receipt,
    ask_supplier,
    charge_card,
    count_words,
    order_number,
    print_catalogue,
    registry,
    send_invoice,
)


def test_1_a_function_is_registered_by_a_decorator_and_stays_a_function() -> None:
    shop = Registry()

    @shop.function
    def greet(name: str, *, loudly: bool = False) -> str:
        """Greet somebody.

        Args:
            name: whom.
        """
        return f"Hello {name}{'!' if loudly else '.'}"

    assert greet("Ada") == "Hello Ada."
    assert shop.names == ("greet",)
    assert greet.description == "Greet somebody."
    assert greet.parameters_schema["properties"]["name"]["description"] == "whom."


def test_2_a_call_is_checked_before_anything_is_sent() -> None:
    call = send_invoice.call(customer_id=7, amount=Decimal("12.50"))
    assert json.loads(call.arguments) == {"customer_id": 7, "amount": "12.50"}

    with pytest.raises(InvalidArgumentsError, match="customer_id"):
        registry.bind("send_invoice", '{"customer_id": "7", "amount": 12.5}')


async def test_3_a_call_is_dispatched_and_its_result_awaited(dispatcher: Dispatcher) -> None:
    job = await dispatcher.dispatch(send_invoice.call(customer_id=7, amount=Decimal("12.50")))
    receipt = await job.result(LONG)
    assert receipt == Receipt(customer_id=7, amount=Decimal("12.50"), text="Thank you.")


async def test_4_an_outcome_is_data_and_a_failure_is_no_exception_unless_one_wants_it(dispatcher: Dispatcher) -> None:
    job = await dispatcher.dispatch(charge_card.call("4000 1234", Decimal(5)))
    match await job.outcome(LONG):
        case Failed(error=error):
            assert error.message == "card *** was declined", "what is sensitive is not shown"
        case other:
            pytest.fail(f"it should have failed: {other}")

    with pytest.raises(CallFailedError, match="was declined"):
        await job.result()


async def test_5_a_failure_is_tried_again_as_the_function_says(dispatcher: Dispatcher) -> None:
    job = await dispatcher.dispatch(ask_supplier.call("paper"))
    assert await job.outcome(LONG) == Succeeded(value="paper is in stock", attempts=3)


async def test_6_one_idempotency_key_is_one_job(dispatcher: Dispatcher) -> None:
    first = await dispatcher.dispatch(order_number.call(), idempotency_key="order-1")
    second = await dispatcher.dispatch(order_number.call(), idempotency_key="order-1")
    assert (second.id, second.repeated) == (first.id, True)
    assert await second.result(LONG) == "order-1", "the function knows it, and can hand it on"

    await dispatcher.dispatch(count_words.call("one"), idempotency_key="words-1")
    with pytest.raises(IdempotencyConflictError):
        await dispatcher.dispatch(count_words.call("another"), idempotency_key="words-1")


async def test_7_a_function_tells_how_far_it_is(dispatcher: Dispatcher) -> None:
    job = await dispatcher.dispatch(print_catalogue.call(300))

    async def progress():
        return (await job.status()).progress

    seen = await soon(progress)
    assert (seen.total, seen.message) == (300, f"page {seen.done:g}")
    await job.cancel()


async def test_8_a_call_is_cancelled_while_it_waits_or_runs(dispatcher: Dispatcher) -> None:
    tomorrow = await dispatcher.dispatch(count_words.call("later"), delay=timedelta(days=1), deadline=timedelta(days=2))
    assert (await tomorrow.status()).state is JobState.SCHEDULED
    assert await tomorrow.cancel("not needed any more")
    assert await tomorrow.outcome() == Cancelled(reason="not needed any more")

    running = await dispatcher.dispatch(print_catalogue.call(300))
    await soon(lambda: is_running(running))
    await running.cancel()
    assert isinstance(await running.outcome(LONG), Cancelled)


async def is_running(job) -> bool:
    return (await job.status()).state is JobState.RUNNING


async def test_9_many_rows_go_through_map_in_bounded_memory(dispatcher: Dispatcher) -> None:
    rows = ({"text": "word " * number} for number in range(1_000))
    counts = [outcome.value async for outcome in dispatcher.map(count_words, rows)]
    assert counts == list(range(1_000))

    outcomes = [outcome async for outcome in dispatcher.map(count_words, [{"text": "fine"}, {"words": 2}])]
    assert isinstance(outcomes[0], Succeeded)
    assert isinstance(outcomes[1], Failed), "a row that does not fit spoils no other"


async def test_10_a_text_selects_its_function_or_none(dispatcher: Dispatcher) -> None:
    job = await dispatcher.dispatch_text("count the words", {"text": "one two three"})
    assert await job.result(LONG) == 3

    assert (await dispatcher.select("what is the meaning of life")).function is None


async def test_11_the_tool_calls_of_a_language_model_are_run_and_answered(dispatcher: Dispatcher) -> None:
    assert [tool["name"] for tool in registry.tools("anthropic", only=["count_words"])] == ["count_words"]

    response = {
        "role": "assistant",
        "content": [
            {"type": "tool_use", "id": "t-1", "name": "count_words", "input": {"text": "one two"}},
            {"type": "tool_use", "id": "t-2", "name": "count_wrods", "input": {"text": "one two"}},
        ],
    }
    (message,) = await dispatcher.run_tool_calls(response, timeout=LONG)
    good, bad = message["content"]
    assert (good["tool_use_id"], good["content"], good["is_error"]) == ("t-1", "2", False)
    assert (bad["tool_use_id"], bad["is_error"]) == ("t-2", True)
    assert "count_words" in bad["content"], "it says what may have been meant"


def test_12_a_script_needs_no_event_loop(settings: Settings) -> None:
    with SyncDispatcher(registry, settings=settings) as dispatcher:
        jobs = [dispatcher.dispatch(count_words.call("one " * number)) for number in range(5)]
        assert [job.result(LONG) for job in jobs] == [0, 1, 2, 3, 4]
        assert [outcome.value for outcome in dispatcher.map(count_words, [{"text": "a b"}, {"text": ""}])] == [2, 0]


async def test_13_what_was_given_up_is_kept_and_can_be_replayed(dispatcher: Dispatcher) -> None:
    job = await dispatcher.dispatch(charge_card.call("4000 1234", Decimal(5)))
    assert isinstance(await job.outcome(LONG), Failed)
    letter = next(letter for letter in await dispatcher.dead_letters.list() if letter.id == job.id)
    assert letter.reason.endswith("card *** was declined")

    await dispatcher.dead_letters.replay(job.id)
    again = await dispatcher.handle(job.id)
    assert await again.outcome(LONG) == Succeeded(value="charged 5", attempts=2)
