"""The Celery app of our workers: `celery -A benchmarks.calls.worker worker`."""

from typing import Any

from celery.signals import worker_process_init, worker_process_shutdown, worker_ready, worker_shutdown

from benchmarks.calls import profiler
from benchmarks.calls.app import registry
from dispatcher import create_worker_app

app = create_worker_app(registry)


def _watch(node: profiler.Profiler) -> None:
    """Write profiles of the node's main process and of each of its pool's."""
    own = node

    def in_pool_process(**_: Any) -> None:  # noqa: ANN401 - a Celery signal
        nonlocal own
        own = profiler.Profiler()
        own.start()

    worker_ready.connect(lambda **_: own.clear(), weak=False)
    worker_process_init.connect(in_pool_process, weak=False)
    worker_process_shutdown.connect(lambda **_: own.write("pool"), weak=False)
    worker_shutdown.connect(lambda **_: own.write("node"), weak=False)


_profiler = profiler.wanted()
if _profiler is not None:
    _watch(_profiler)
