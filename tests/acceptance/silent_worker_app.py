"""The same app without Celery's events: for the tests that count commands."""

from tests.acceptance.worker_app import app

app.conf.worker_send_task_events = False
