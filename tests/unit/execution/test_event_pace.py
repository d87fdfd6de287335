"""Events of tasks are sent some at a time."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from dispatcher.execution.event_pace import AT_ONCE, LOST, PAUSE, EventPace, pace
from dispatcher.testing import FakeClock


class Loop:
    """Celery's timer, and what was sent."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.timers: list[Callable[[], object]] = []
        self.flushes = 0
        self.on_event = pace(self.call_later, self.flush, self.clock.monotonic)

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        assert seconds == PAUSE
        self.timers.append(function)

    def flush(self) -> None:
        self.flushes += 1

    def after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        while self.timers:
            self.timers.pop()()


def test_many_events_are_sent_once_after_a_pause() -> None:
    loop = Loop()
    for _ in range(50):
        loop.on_event()
    assert (len(loop.timers), loop.flushes) == (1, 0)
    loop.after(PAUSE)
    assert loop.flushes == 1
    loop.on_event()
    loop.after(PAUSE)
    assert loop.flushes == 2


def test_a_timer_that_was_lost_is_set_again() -> None:
    loop = Loop()
    loop.on_event()
    loop.timers.clear()
    loop.on_event()
    assert loop.timers == []
    loop.clock.advance(PAUSE + LOST + 0.01)
    loop.on_event()
    loop.after(PAUSE)
    assert loop.flushes == 1


def test_celerys_small_buffer_does_not_send_them_sooner() -> None:
    loop = Loop()
    events: Any = SimpleNamespace(flush=loop.flush, buffer_limit=24, on_send_buffered=None)
    node = SimpleNamespace(event_dispatcher=events, hub=SimpleNamespace(call_later=loop.call_later), pool=None)
    EventPace(node).start(node)
    events.on_send_buffered()
    assert (events.buffer_limit, len(loop.timers)) == (AT_ONCE, 1)
