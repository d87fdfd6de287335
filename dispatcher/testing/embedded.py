"""A real server, and a worker in the test's own process."""

import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from dispatcher.client.dispatcher import Dispatcher
from dispatcher.execution import celery_task
from dispatcher.execution.execute import Executor
from dispatcher.execution.sweeper import Sweeper
from dispatcher.registry.registry import Registry
from dispatcher.selection.rules import KeywordRule
from dispatcher.selection.selector import Selector
from dispatcher.settings import Settings
from dispatcher.transport.app import create_app, queue_names
from dispatcher.transport.broker import Broker
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.ledger import Ledger

#: Short, so that a test that waits for a retry, a delay or a lost worker is soon over.
QUICK_SETTINGS: dict[str, Any] = {
    "lease_seconds": 2,
    "sweep_interval_seconds": 0.05,
    "republish_grace_seconds": 0.5,
    "kill_grace_seconds": 0.3,
    "poll_interval_seconds": 0.2,
}

#: Seconds between two looks for work.
_PAUSE = 0.005
#: Seconds that jobs in hand are given at the end.
_LAST_SECONDS = 5.0


@asynccontextmanager
async def embedded_dispatcher(
    registry: Registry,
    *,
    concurrency: int = 4,
    selector: Selector | None = None,
    rules: Sequence[KeywordRule] = (),
    **settings: Any,  # noqa: ANN401
) -> AsyncIterator[Dispatcher]:
    """A `Dispatcher` on a server of its own in a temporary folder, with a worker in this process.

    The whole way of a call is real (ledger, queue, lease, checks, retries, timeouts, outcome) but for Celery's worker:
    threads of this process take the wake-ups, so functions may be closures and see what the test patches. As in
    Celery's thread pool, a `def` that must stop is asked, not interrupted. Plain Celery calls are not served.

    Args:
        registry: the functions.
        concurrency: jobs at once.
        selector: as for `Dispatcher`.
        rules: as for `Dispatcher`.
        settings: fields of `Settings`, over intervals that are short enough for tests.
    """
    with tempfile.TemporaryDirectory(prefix="dispatcher-") as folder, EmbeddedServer(Path(folder)) as server:
        made = Settings(**{**QUICK_SETTINGS, **settings, "url": server.url})
        with embedded_worker(registry, made, concurrency=concurrency):
            async with Dispatcher(registry, settings=made, selector=selector, rules=rules) as dispatcher:
                yield dispatcher


@contextmanager
def embedded_worker(registry: Registry, settings: Settings, *, concurrency: int = 4) -> Iterator[None]:
    """Threads of this process that run what is dispatched on the server of `settings.url`; see `embedded_dispatcher`.

    With `SyncDispatcher(registry, settings=settings)` beside it, this is the same for tests without asyncio.
    """
    worker = _Worker(registry, settings, concurrency)
    worker.start()
    try:
        yield
    finally:
        worker.stop()


class _Worker:
    """Takes wake-ups and runs their jobs; sweeps as every worker node does."""

    def __init__(self, registry: Registry, settings: Settings, concurrency: int) -> None:
        url = settings.url.get_secret_value() if settings.url is not None else ""
        app = create_app(settings, url, registry, name="dispatcher-testing")
        self._client = connect(url, role="worker")
        self._queues = queue_names(registry)
        self._executor = Executor(registry, Ledger(self._client), settings)
        # The guard at the door of the queue lets in only what the app knows.
        celery_task.register(app, registry, lambda: self._executor)
        self._sweeper = Sweeper(Broker(app, "testing"), Ledger(self._client), settings, "testing")
        self._broker = Broker(app, "testing")
        self._concurrency = concurrency
        self._free = threading.Semaphore(concurrency)
        #: Taken, and not yet begun.
        self._jobs: deque[str] = deque()
        self._ending = threading.Event()
        self._feeder = threading.Thread(target=self._feed, name="dispatcher-testing-feeder", daemon=True)

    def start(self) -> None:
        self._sweeper.start()
        self._feeder.start()

    def stop(self) -> None:
        self._ending.set()
        self._feeder.join()
        self._sweeper.stop()
        # What still runs may finish; a function that hangs is left to its thread, which does not outlive the tests.
        for _ in range(self._concurrency):
            self._free.acquire(timeout=_LAST_SECONDS / self._concurrency)
        self._executor.close()
        self._client.close()

    def _feed(self) -> None:
        while not self._ending.is_set():
            if not self._free.acquire(timeout=_PAUSE):
                continue
            if not self._jobs:
                self._jobs.extend(self._take())
            if not self._jobs:
                self._free.release()
                self._ending.wait(_PAUSE)
            else:
                job_id = self._jobs.popleft()
                threading.Thread(target=self._run, args=(job_id,), name="dispatcher-testing", daemon=True).start()
        self._broker.disconnect()

    def _take(self) -> list[str]:
        try:
            return self._broker.take(self._queues)
        except SERVER_FAILURES:
            # A test may well take the server away; it comes back, or the test ends.
            self._broker.disconnect()
            return []

    def _run(self, job_id: str) -> None:
        try:
            self._executor.execute(job_id, "testing")
        finally:
            self._free.release()
