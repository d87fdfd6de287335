"""Celery's events of a worker node, sent a few times a second: a message for each of three a task is dear.

Celery sends what has come up with each turn of its loop, and so between taking a task and handing it to the pool.
"""

from typing import Any

from celery import bootsteps
from celery.worker.consumer.events import Events

#: Seconds that an event may wait for others.
DELAY = 0.1
#: Events in one message; more are sent at once.
MOST = 500


class GatheredEvents(bootsteps.StartStopStep):
    """A step of Celery's consumer, begun anew with each connection."""

    requires = (Events,)  # type: ignore[assignment]  # Celery types its own as an empty tuple

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's consumer
        """Send events later than Celery would. Only where it has a loop: elsewhere it sends each by itself."""
        dispatcher, hub = parent.event_dispatcher, parent.hub
        if dispatcher is None or hub is None:
            return
        waiting = False

        def flush() -> None:
            nonlocal waiting
            waiting = False
            dispatcher.flush()

        def on_event() -> None:
            nonlocal waiting
            if not waiting:
                waiting = True
                hub.call_later(DELAY, flush)

        dispatcher.buffer_limit = MOST
        dispatcher.on_send_buffered = on_event

    def stop(self, parent: Any) -> None:  # noqa: ANN401
        """Send what still waits, while there is a connection."""
        if parent.event_dispatcher is not None:
            parent.event_dispatcher.flush()
