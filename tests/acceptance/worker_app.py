"""The Celery app of these tests' workers: `celery -A tests.acceptance.worker_app worker`."""

from dispatcher import create_worker_app
from tests.acceptance.functions import registry

app = create_worker_app(registry)
