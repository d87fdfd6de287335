"""Celery's events, some at a time: a worker that tells each on its own spends half of its main process on it.

Celery collects the events of tasks and sends what it has whenever its loop comes round, which under load is with every
task. They are sent ten times a second instead, or when Celery's own buffer is full.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from celery import bootsteps
from celery.concurrency.thread import TaskPool as ThreadsPool

#: Seconds that an event waits for others.
PAUSE: Final = 0.1
#: Events that wait for others at most; Celery's own limit is 24, which a few hundred calls a second reach sooner.
AT_ONCE: Final = 200
#: Seconds after which a timer that should have come is taken for lost, as when Celery's loop was reset.
LOST: Final = 1.0


class EventPace(bootsteps.StartStopStep):
    """A step of Celery's consumer, begun anew with each connection."""

    requires = ("celery.worker.consumer.events:Events",)  # type: ignore[assignment]  # Celery's default is empty

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's signature
        """The node has a connection for its events."""
        # In a pool of Celery's own threads events come from these, and the loop's timer is not made for threads.
        events = parent.event_dispatcher  # None in a node that sends none
        if events is not None and parent.hub is not None and not isinstance(parent.pool, ThreadsPool):
            events.on_send_buffered = pace(parent.hub.call_later, events.flush)
            events.buffer_limit = AT_ONCE

    def stop(self, parent: Any) -> None:  # noqa: ANN401
        """The node stops: what waits is sent now."""
        if parent.event_dispatcher is not None:
            parent.event_dispatcher.flush()


def pace(
    call_later: Callable[[float, Callable[[], object]], object],
    flush: Callable[[], object],
    now: Callable[[], float] = time.monotonic,
) -> Callable[[], None]:
    """What to call with each event, so that `flush` is called for several of them together."""
    due: float | None = None

    def send() -> None:
        nonlocal due
        due = None
        flush()

    def on_event() -> None:
        nonlocal due
        if due is None or now() > due + LOST:
            due = now() + PAUSE
            call_later(PAUSE, send)

    return on_event
