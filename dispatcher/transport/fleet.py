"""Sums over a whole namespace, for metrics and for `doctor`."""

from dataclasses import dataclass
from typing import Any

from dispatcher.transport.keys import Keys
from dispatcher.transport.script import Command, text_of


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetCounts:
    """How much there is, and how much there ever was."""

    #: Accepted jobs without an outcome: waiting, scheduled and running.
    unsettled: int
    #: Jobs that a worker holds.
    running: int
    dead_letters: int
    #: Since the namespace was first used, by the scripts' own names: `accepted`, `outcome:failed:send_invoice`, …
    counters: dict[str, int]


def fleet_command(keys: Keys) -> Command[FleetCounts]:
    """Ask for the sums."""

    def read(reply: list[Any]) -> FleetCounts:
        unsettled, running, dead_letters, flat = reply
        names = [text_of(name) for name in flat[::2]]
        values = [int(value) for value in flat[1::2]]
        return FleetCounts(
            unsettled=unsettled,
            running=running,
            dead_letters=dead_letters,
            counters=dict(zip(names, values, strict=True)),
        )

    return Command("fleet", (keys.prefix,), (), read)
