"""A prefork pool that is given its jobs at once.

Celery's own way is a further turn of its event loop: ask the system whether the pipes to the pool's processes can be
written to, which they can, and take them out of the poller again. That is a tenth of what a call costs the node, and
all of it before the call is begun: `benchmarks.calls --only single`.
"""

from typing import Any

from celery import bootsteps
from celery.concurrency.prefork import TaskPool


class PromptWrites(bootsteps.StartStopStep):
    """A step of Celery's worker, after its pool was started."""

    requires = ("celery.worker.components:Pool",)  # type: ignore[assignment]  # Celery's default is empty

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's signature
        """The pool has its processes."""
        if parent.hub is not None and isinstance(parent.pool, TaskPool):
            write_promptly(parent.pool, parent.hub)


def write_promptly(pool: Any, hub: Any) -> None:  # noqa: ANN401 - Celery's prefork pool, kombu's event loop
    """Have whatever a pool is asked to do written to its processes in the loop's next turn, before that waits.

    The pipes do not block: a process whose pipe is full is written to when the poller says so, as ever.
    """
    apply, asked = pool.on_apply, False

    def write() -> None:
        nonlocal asked
        asked = False
        schedule_writes = hub.consolidate_callback  # the pool's, once it is registered with the loop
        if schedule_writes is not None:
            # It passes over those that are busy, and those that are written to.
            schedule_writes(list(pool._pool._all_inqueues))  # noqa: SLF001 - billiard does not show them

    def on_apply(*args: Any, **kwargs: Any) -> object:  # noqa: ANN401
        nonlocal asked
        result: object = apply(*args, **kwargs)
        if not asked:
            asked = True
            hub.call_soon(write)
        return result

    pool.on_apply = on_apply
