"""`celery -A tests.fundamentals.worker_app worker`."""

from dispatcher import create_worker_app
from tests.fundamentals.shop import registry

app = create_worker_app(registry)
