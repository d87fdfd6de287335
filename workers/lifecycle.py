"""A worker node's life, as its container sees it.

While it consumes it touches its health file; `python -m workers.health` looks at that. SIGTERM is Celery's warm
shutdown: it takes no more messages, the file goes, running calls may finish, and then it ends. What is cut off all the
same loses its lease and is given to another node.
"""

from contextlib import suppress
from typing import Any

from celery import Celery, bootsteps

from workers.health import INTERVAL, health_file


class HealthFile(bootsteps.StartStopStep):
    """Touches the health file every few seconds from the loop that consumes: a loop that hangs lets it grow old.

    Celery starts it when the node consumes, and stops it when it does not: while it reconnects to the broker, and at
    its end.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)  # type: ignore[assignment]  # Celery's default is empty

    def __init__(self, parent: Any, **_: Any) -> None:  # noqa: ANN401 - Celery's signature
        self._timer: Any = None
        self._path = health_file()
        super().__init__(parent)

    def start(self, parent: Any) -> None:  # noqa: ANN401
        """The node begins to consume."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch()
        self._timer = parent.timer.call_repeatedly(INTERVAL.total_seconds(), self._path.touch)

    def stop(self, parent: Any) -> None:  # noqa: ANN401, ARG002
        """The node no longer consumes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def watch_over(app: Celery) -> None:
    """Give the workers of an app their health file."""
    app.steps["consumer"].add(HealthFile)
