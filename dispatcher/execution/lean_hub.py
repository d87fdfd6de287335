"""Celery's event loop in a worker's main process, without what it does in vain in each of its turns.

With every turn, of which there are four for a call, kombu registers each of its sockets for reading again, and
Celery's prefork pool takes each of its pipes out of the poller, whether or not it is in: system calls that fail, and an
exception each. It costs a tenth of the process: `benchmarks.calls --only single`.
"""

from collections.abc import Callable
from typing import Any, Protocol

from celery import bootsteps


class Hub(Protocol):
    """As much of kombu's event loop as this is about."""

    readers: dict[int, Any]
    writers: dict[int, Any]
    add_reader: Callable[..., object]
    remove_writer: Callable[[int], object]


class LeanHub(bootsteps.Step):
    """A step of Celery's worker, between the making of its loop and whatever registers with that."""

    requires = ("celery.worker.components:Hub",)  # type: ignore[assignment]  # Celery's default is empty

    def create(self, parent: Any) -> None:  # noqa: ANN401 - Celery's signature
        """The node has its loop, if it has one at all."""
        if parent.hub is not None:
            make_lean(parent.hub)


def make_lean(hub: Hub) -> None:
    """Have a loop pass over what is as it should be already. Doing it again changes nothing."""
    if "add_reader" in vars(hub):
        return
    add_reader, remove_writer = hub.add_reader, hub.remove_writer

    def add_reader_once(fds: Any, callback: Callable[..., object], *args: object) -> None:  # noqa: ANN401 - kombu's
        if fds not in hub.readers or hub.readers[fds] != (callback, args) or fds in hub.writers:
            add_reader(fds, callback, *args)

    def remove_what_is_a_writer(fd: int) -> None:
        if fd in hub.writers:
            remove_writer(fd)

    hub.add_reader, hub.remove_writer = add_reader_once, remove_what_is_a_writer
