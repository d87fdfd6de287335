"""The Celery app of our workers: `celery -A benchmarks.calls.worker worker`."""

from benchmarks.calls.app import registry
from dispatcher import create_worker_app

app = create_worker_app(registry)
