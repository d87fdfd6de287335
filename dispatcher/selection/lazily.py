"""What is worked out when it is first asked for, and then kept."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class lazily(Generic[T]):  # noqa: N801 - a decorator
    """As `functools.cached_property`, which takes a lock each time in Python 3.11: a microsecond, ten times a text."""

    def __init__(self, work: Callable[..., T]) -> None:
        self._work = work
        self._name = work.__name__
        self.__doc__ = work.__doc__

    def __get__(self, owner: object, kind: type | None = None) -> T:
        value = owner.__dict__[self._name] = self._work(owner)
        return value
