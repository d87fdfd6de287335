"""A small Celery application on the guarded transport, run by the worker processes of test_guarded.py."""

import os
from typing import Any

from celery import Celery, Task
from celery.worker.request import Request

from dispatcher.settings import Settings
from dispatcher.transport.connection import kombu_url
from dispatcher.transport.guarded import use_guarded


class BrokenRequest(Request):
    """Stands for whatever Celery may fail at in a message that looks right."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        msg = "broken"
        raise KeyError(msg)


def create(url: str, namespace: str, **options: Any) -> Celery:
    """Make the app; its queue is named by its namespace."""
    made = Celery("tiny", set_as_current=False)
    made.conf.update(
        broker_url=kombu_url(url),
        result_backend=kombu_url(url),
        task_default_queue=namespace,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_transport_options={"ack_emulation": False, **options},
    )
    use_guarded(made, Settings(namespace=namespace))

    @made.task(name="tiny.add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    @made.task(name="tiny.total", shared=False)
    def total(values: list[int]) -> int:
        return sum(values)

    @made.task(name="tiny.spread", shared=False, bind=True)
    def spread(self: Task, count: int) -> None:
        from celery import group

        self.replace(group(add.s(n, n) for n in range(count)))

    @made.task(name="tiny.retried", shared=False, bind=True, max_retries=3)
    def retried(self: Task) -> int:
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return self.request.retries

    @made.task(name="tiny.broken", shared=False, Request=BrokenRequest)
    def broken() -> None: ...

    return made


if "GUARDED_URL" in os.environ:
    app = create(os.environ["GUARDED_URL"], os.environ["GUARDED_NAMESPACE"])
