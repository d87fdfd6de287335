"""Plain functions that wait on an event loop as coroutines do, each in a greenlet of its own.

Celery's tracer is a plain function, and so is the executor. `run` gives such a function a greenlet; `wait`, called from
anywhere inside, hands what is to be waited for to the loop, and the loop goes on with others meanwhile.
"""

import contextvars
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

from greenlet import getcurrent, greenlet

T = TypeVar("T")


class Waiter(greenlet, Generic[T]):  # type: ignore[misc]  # greenlet is unannotated
    """The greenlet of one function. Its parent is whoever drives it, on the loop."""

    #: Raised in the function instead of the cancellation of the task that drives it.
    ending: BaseException | None = None


def in_waiter() -> bool:
    """Whether `wait` can be called here."""
    return isinstance(getcurrent(), Waiter)


def wait(awaitable: Awaitable[T]) -> T:
    """The result of an awaitable, for a function that runs in a `Waiter`."""
    switch = _parent_of(getcurrent()).switch
    steps = awaitable.__await__()
    try:
        waited = next(steps)
        while True:
            try:
                sent = switch(waited)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the coroutine's
                waited = steps.throw(error)
            else:
                waited = steps.send(sent)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _parent_of(current: greenlet) -> greenlet:
    if isinstance(current, Waiter) and current.parent is not None:
        return current.parent
    msg = "only a function that was started by `drive` can wait for the event loop"
    raise RuntimeError(msg)


def make(function: Callable[[], T]) -> Waiter[T]:
    """A greenlet for a function, with a copy of the caller's context. Call it on the loop that drives it."""
    waiter: Waiter[T] = Waiter(function)
    waiter.gr_context = contextvars.copy_context()
    return waiter


async def drive(waiter: Waiter[T]) -> T:
    """Run a greenlet's function to its end.

    Raises:
        BaseException: what the function raised.
    """
    return await _Driven(waiter)


class _Driven(Generic[T]):
    def __init__(self, waiter: Waiter[T]) -> None:
        self._waiter = waiter

    def __await__(self) -> Generator[Any, Any, T]:
        waiter = self._waiter
        waited = waiter.switch()
        while not waiter.dead:
            try:
                sent = yield waited
            except BaseException as error:  # noqa: BLE001 - it is raised where the function waits
                ending, waiter.ending = waiter.ending, None
                waited = waiter.throw(ending or error)
            else:
                waited = waiter.switch(sent)
        return waited  # type: ignore[no-any-return]
