"""The Celery app of the dashboard's tests: `celery -A tests.acceptance.shown_worker_app worker`."""

from dispatcher import create_worker_app
from tests.acceptance.shown_functions import registry

app = create_worker_app(registry)
