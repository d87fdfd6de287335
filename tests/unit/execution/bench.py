"""An executor on a fake ledger and a clock that stands still, with functions that do what a test says."""

import inspect
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from dispatcher import Registry, RetryPolicy
from dispatcher.errors import CallTimedOut, Interrupted
from dispatcher.execution.ending import Ending
from dispatcher.execution.execute import Executor
from dispatcher.settings import Settings
from dispatcher.testing import FakeClock
from dispatcher.transport.outcomes import JobRecord
from tests.unit.execution.fakes import FakeLedger

AWAY = RedisConnectionError("away")
AGAIN = RetryPolicy(max_attempts=3, first_wait=timedelta(seconds=2), jitter=False)
SETTINGS = Settings(outage_seconds=10, default_timeout_seconds=60)

registry = Registry()
#: What `do` does; each test sets it.
behaviour: Callable[[Any], object] = lambda value: value  # noqa: E731


@registry.function
def do(value: object = None) -> object:
    """Do what the test says."""
    return behaviour(value)


@registry.function(retry=AGAIN, timeout=timedelta(seconds=30))
def do_again(value: object = None) -> object:
    """Do what the test says, up to three times."""
    return behaviour(value)


@registry.function(retry=AGAIN)
async def do_async(value: object = None) -> object:
    """Do what the test says, on the event loop."""
    result = behaviour(value)
    return await result if inspect.isawaitable(result) else result


@registry.function(sensitive=["password"], sensitive_result=True, aliases=["log_in_before"])
def log_in(user: str, password: str, /) -> str:
    """Say too much."""
    if user == "nobody":
        msg = f"{user} is refused with {password}"
        raise PermissionError(msg)
    return f"{user}:{password}"


@registry.function(cache=timedelta(minutes=1))
def cached(number: int) -> int:
    """Worth keeping."""
    return number


class Bench:
    """An executor on a fake ledger and a clock that stands still."""

    def __init__(self, lease: object, **options: Any) -> None:
        answers = {name: options.pop(name) for name in ("settle", "look", "heartbeat") if name in options}
        self.clock = FakeClock()
        self.ledger = FakeLedger(lease=lease, **answers)
        self.executor = Executor(registry, self.ledger, SETTINGS, self.clock, **options)  # type: ignore[arg-type]

    def run(self) -> Ending:
        return self.executor.execute("job-1", "worker-1")

    def interrupt(self, reason: type[Interrupted]) -> None:
        """What the supervisor does, from inside a function."""
        (attempt,) = self.executor._runs
        if reason is CallTimedOut:
            self.clock.advance(61)
        self.executor._supervisor.interrupt(attempt, reason)

    @property
    def record(self) -> JobRecord:
        (record,) = self.ledger.settlements()
        return record


def does(monkeypatch: pytest.MonkeyPatch, what: Callable[[Any], object]) -> None:
    monkeypatch.setattr(sys.modules[__name__], "behaviour", what)


def raises(error: BaseException) -> Callable[[Any], object]:
    def act(_: Any) -> object:
        raise error

    return act


Benches = Callable[..., Bench]
Patch = pytest.MonkeyPatch
