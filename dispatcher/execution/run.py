"""An attempt in progress, as the executor sees it."""

import os
from dataclasses import dataclass, field

from dispatcher.execution.context import Attempt
from dispatcher.execution.ending import Ending
from dispatcher.execution.invoke import AnyFunction, Arguments
from dispatcher.transport.outcomes import CallRecord
from dispatcher.transport.replies import Lease
from dispatcher.transport.script import Command


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A call that raised."""

    error: BaseException
    record: CallRecord
    #: Whether the function itself raised, so that its retry policy is asked.
    from_function: bool


@dataclass(kw_only=True, eq=False)
class Run:
    """An attempt in progress, with what its calls have come to so far."""

    lease: Lease
    attempt: Attempt
    #: Both on the monotonic clock.
    started: float
    deadline: float
    function: AnyFunction | None = None
    calls: tuple[str, ...] = ("{}",)
    #: The position of the call that runs, where they run one after the other.
    current: int = 0
    ended: dict[int, CallRecord] = field(default_factory=dict)
    problems: dict[int, Problem] = field(default_factory=dict)
    #: The arguments of calls that were loaded together with others.
    loaded: dict[int, Arguments] = field(default_factory=dict)
    #: Calls that did not stop when told to, and go on unheard.
    strays: int = 0

    def missing(self) -> list[int]:
        """The positions of the calls that have come to nothing yet."""
        return [i for i in range(len(self.calls)) if i not in self.ended and i not in self.problems]

    def under_way(self) -> list[int]:
        """The positions of the calls that run."""
        return list(self.attempt.calls.copy()) or [self.current]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """How a run has ended, and what records it."""

    run: Run
    command: Command[str]
    ending: Ending


def new_nonce() -> str:
    """A name for one request for leases, by which the ledger knows it when it is repeated."""
    return os.urandom(16).hex()  # a UUID takes four times as long
