"""What calls a function, for one job after another."""

import weakref

from dispatcher import Registry
from dispatcher.execution.context import Attempt
from dispatcher.execution.coroutines import CoroutineRunner
from dispatcher.execution.invoke import Invoker
from tests.unit.execution.fakes import ACCEPTED

registry = Registry()


@registry.function
def double(number: int) -> int:
    """Twice as much."""
    return 2 * number


def test_it_is_gone_with_its_last_user_without_the_garbage_collector() -> None:
    attempt = Attempt(
        job_id="j", token=1, number=1, function="double", idempotency_key="", accepted_at=ACCEPTED, deadline_at=ACCEPTED
    )
    with Invoker(CoroutineRunner()).ready(double, attempt, None) as invoke:
        assert invoke((), {"number": 21}) == 42
    seen = weakref.ref(invoke)
    del invoke
    assert seen() is None
