"""Asking the ledger for one job, early or in time: what is done with an answer that nobody has read yet."""

from collections.abc import Iterator
from typing import Any

import pytest

from dispatcher.execution.leases import Leases
from dispatcher.settings import Settings
from dispatcher.testing import FakeClock
from dispatcher.transport.commands import Commands
from tests.unit.execution.fakes import FakeLedger, lease_of

#: As short as the settings take it.
SHORTEST = 0.5


class Asking:
    """What asks, on a fake ledger that notes how its answers were come by."""

    def __init__(self, lease_seconds: float) -> None:
        settings = Settings(lease_seconds=lease_seconds)
        self.clock = FakeClock()
        self.ledger = FakeLedger(lease=lease_of("do"))
        self.waited_for: list[Any] = []
        self.leases = Leases(self.ledger, Commands(settings), self.clock, self._persist, settings)  # type: ignore[arg-type]

    def _persist(self, command: Any) -> Any:
        self.waited_for.append(command)
        return self.ledger.run(command)

    def ask_after(self, seconds: float) -> Iterator[tuple[Any, ...]]:
        """Ask early, and in time; the requests that the server was sent."""
        self.leases.ask_early("job-1", "worker-1")
        self.clock.advance(seconds)
        assert self.leases.ask("job-1", "worker-1") == lease_of("do")
        assert self.ledger.unread == []
        return (command.args for command in self.ledger.asked_for("lease"))


def test_an_early_answer_is_the_answer_and_nobody_waits_for_another() -> None:
    asking = Asking(10)
    assert len(list(asking.ask_after(0.9))) == 1
    assert asking.waited_for == []


@pytest.mark.parametrize(("lease_seconds", "seconds"), [(10, 1.1), (SHORTEST, 0.2), (SHORTEST, 0.7)])
def test_an_early_lease_that_may_run_out_before_it_is_first_kept_is_asked_for_again(
    lease_seconds: float, seconds: float
) -> None:
    asking = Asking(lease_seconds)
    (request,) = asking.ask_after(seconds)
    (again,) = asking.waited_for
    assert request == again.args, "under its nonce"


def test_a_short_lease_too_is_used_while_it_is_good() -> None:
    asking = Asking(SHORTEST)
    asking.leases.ask_early("job-1", "worker-1")
    asking.clock.advance(0.1)
    asking.leases.ask("job-1", "worker-1")
    assert asking.waited_for == []
