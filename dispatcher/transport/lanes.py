"""In what order a worker looks into its queues: people before batches, and batches never quite last.

kombu asks for the next message of any of several lists, and the first list that has one gives it: their order is the
priority. Within a lane queues take turns.

How kombu is told: the transport option `queue_order_strategy`.
"""

from collections.abc import Iterable
from typing import Final

#: Messages of better lanes after which the next one comes from this lane, if it has any: a lane that always waits would
#: starve while others never run dry.
PATIENCE: Final = 10

_LAST: Final = 2


def lane_of(queue: str) -> int:
    """0 for what cannot wait, 1 for what people wait for, 2 for batches."""
    return 0 if queue.endswith(".high") else _LAST if queue.endswith(".bulk") else 1


class Lanes:
    """A cycle, as kombu calls it: `update` names the queues, `consume` orders them, `rotate` tells which one gave."""

    def __init__(self, queues: Iterable[str] = ()) -> None:
        self._lanes: list[list[str]] = []
        #: Messages taken from better lanes since this one was asked first.
        self._waited = [0] * (_LAST + 1)
        self._first = 0
        self.update(queues)

    def update(self, queues: Iterable[str]) -> None:
        """These queues from now on."""
        named = list(queues)
        self._lanes = [[queue for queue in named if lane_of(queue) == lane] for lane in range(_LAST + 1)]

    def consume(self, count: int) -> list[str]:
        """The queues in the order in which to look into them; at most `count`."""
        impatient = [lane for lane in range(1, _LAST + 1) if self._lanes[lane] and self._waited[lane] >= PATIENCE]
        self._first = impatient[-1] if impatient else 0
        order = [self._first, *(lane for lane in range(_LAST + 1) if lane != self._first)]
        return [queue for lane in order for queue in self._lanes[lane]][:count]

    def rotate(self, last_used: str) -> str:
        """A message came from this queue: it is the last of its lane from now on."""
        used = lane_of(last_used)
        if last_used in self._lanes[used]:
            self._lanes[used].remove(last_used)
            self._lanes[used].append(last_used)
        for lane in range(used + 1, _LAST + 1):
            self._waited[lane] += 1
        self._waited[used] = 0
        # It was asked first, and had nothing: it has no reason to be impatient.
        self._waited[self._first] = 0
        return last_used
