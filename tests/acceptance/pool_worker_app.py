"""A worker with functions of ours and ordinary Celery tasks, as a team has that has used Celery before."""

import asyncio
import contextvars
import os
import threading
import time

from celery import Task

from dispatcher import create_worker_app
from tests.acceptance.functions import mark, registry

app = create_worker_app(registry)
name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


class Custom(Task):
    """A task class of theirs, with attributes of its own."""

    function = None

    def on_failure(self, exc, task_id, args, kwargs, einfo) -> None:
        """Leave a mark."""
        mark(kwargs["label"], f"on_failure {exc}")


@app.task
def plain_add(a: int, b: int) -> int:
    """Add, as a `def`."""
    return a + b


@app.task
async def async_add(a: int, b: int) -> int:
    """Add, as an `async def`."""
    await asyncio.sleep(0.01)
    return a + b


@app.task(bind=True)
async def who_am_i(self: Task) -> list[object]:
    """Tell the task's id before and after waiting, and whose thread runs it."""
    before = self.request.id
    await asyncio.sleep(0.05)
    return [before, self.request.id, threading.current_thread().name, type(asyncio.get_running_loop()).__module__]


@app.task
async def set_name(own: str) -> str:
    """Set a context variable, and read it when others have set theirs."""
    before = name.get()
    name.set(own)
    await asyncio.sleep(0.05)
    return f"{before} {name.get()}"


@app.task(bind=True, max_retries=3)
async def retry_twice(self: Task) -> int:
    """Ask Celery to try again, twice."""
    await asyncio.sleep(0)
    if self.request.retries < 2:
        raise self.retry(countdown=0.05)
    return self.request.retries


@app.task(bind=True, autoretry_for=(ConnectionError,), max_retries=3, retry_backoff=False, default_retry_delay=0.05)
async def retry_by_itself(self: Task) -> int:
    """Fail twice, and let Celery try again."""
    await asyncio.sleep(0)
    if self.request.retries < 2:
        raise ConnectionError
    return self.request.retries


@app.task(base=Custom)
async def fail_async(label: str) -> None:
    """Fail."""
    await asyncio.sleep(0)
    msg = label
    raise ValueError(msg)


@app.task
async def wait_async(label: str, seconds: float) -> str:
    """Wait, and clean up when that is ended."""
    mark(label, f"start {os.getpid()}")
    try:
        await asyncio.sleep(seconds)
    finally:
        mark(label, "cleaned up")
        await asyncio.sleep(0.01)
        mark(label, "after cleaning up")
    return "waited"


@app.task
def wait_plain(label: str, seconds: float) -> str:
    """Wait, as a `def`."""
    mark(label, f"start {os.getpid()}")
    time.sleep(seconds)
    mark(label, "end")
    return "waited"


@app.task
async def leave_async(how: str) -> None:
    """End in a way that no task should."""
    await asyncio.sleep(0)
    if how == "cancel":
        asyncio.current_task().cancel()
        await asyncio.sleep(0)
    raise {"exit": SystemExit(3), "keyboard": KeyboardInterrupt()}[how]


@app.task
async def stop_the_loop() -> str:
    """Stop the loop that all share."""
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)
    return "stopped"
