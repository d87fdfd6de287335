"""`celery -A workers.app worker`: the Celery app that runs the functions of `tasks`."""

from dispatcher import create_worker_app
from tasks import registry
from workers.lifecycle import watch_over

app = create_worker_app(registry)
watch_over(app)
