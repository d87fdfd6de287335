"""Events of a node go out together, soon, and none is left behind."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from dispatcher.execution.gathered_events import DELAY, MOST, GatheredEvents


class Hub:
    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, call: Callable[[], None]) -> None:
        self.later.append((delay, call))


class EventDispatcher:
    def __init__(self) -> None:
        self.flushed = 0
        self.buffer_limit = 24
        self.on_send_buffered: Callable[[], None] | None = None

    def flush(self) -> None:
        self.flushed += 1


def consumer(**parts: Any) -> Any:
    return SimpleNamespace(**{"event_dispatcher": EventDispatcher(), "hub": Hub(), **parts})


def test_events_are_sent_once_for_all_that_come_meanwhile() -> None:
    made = consumer()
    GatheredEvents(made).start(made)
    assert made.event_dispatcher.buffer_limit == MOST
    for _ in range(3):
        made.event_dispatcher.on_send_buffered()
    ((delay, flush),) = made.hub.later
    assert delay == DELAY
    assert made.event_dispatcher.flushed == 0
    flush()
    assert made.event_dispatcher.flushed == 1
    made.event_dispatcher.on_send_buffered()
    assert len(made.hub.later) == 2, "the next one waits anew"


def test_what_still_waits_is_sent_at_the_end() -> None:
    made = consumer()
    GatheredEvents(made).stop(made)
    assert made.event_dispatcher.flushed == 1


def test_where_celery_has_no_loop_or_no_events_it_does_as_it_always_does() -> None:
    without_loop = consumer(hub=None)
    GatheredEvents(without_loop).start(without_loop)
    assert without_loop.event_dispatcher.on_send_buffered is None
    without_events = consumer(event_dispatcher=None)
    GatheredEvents(without_events).start(without_events)
    GatheredEvents(without_events).stop(without_events)
    assert without_events.hub.later == []
