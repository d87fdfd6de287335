"""Celery as its guides tune it for many short tasks: prefork, no gossip, mingle or heartbeat, no events, no tracking.

Acknowledged late and given back when a worker is lost, as who cannot lose a call sets it. Many calls are sent in
batches (`Producer.batch`, since 5.7) and read from the result store as they are announced.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from celery import Celery
from celery.result import ResultSet

from benchmarks.calls.peers.producing import PATIENCE, WAIT_SECONDS, Blocking, Row, answer, url

app = Celery("benchmarks.calls.peers.with_celery", broker=url(), backend=url())
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=8,
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    worker_send_task_events=False,
    task_send_sent_event=False,
    task_track_started=False,
    task_store_eager_result=False,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
    result_expires=3600,
)


@app.task(name="quick")
def quick(number: int, text: str) -> dict[str, object]:
    """Nothing but an answer."""
    return answer(number, text)


@app.task(name="waiting")
def waiting(number: int, text: str) -> dict[str, object]:
    """An answer after a while."""
    time.sleep(WAIT_SECONDS)
    return answer(number, text)


TASKS = {"quick": quick, "waiting": waiting}


class Tuned(Blocking):
    """Its producer."""

    def send(self, function: str, call: Row) -> Any:  # noqa: ANN401
        return TASKS[function].apply_async(call)

    def send_many(self, function: str, calls: Sequence[Row]) -> Any:  # noqa: ANN401
        task = TASKS[function]
        with app.producer_or_acquire() as producer, producer.batch():
            return [task.apply_async(call, producer=producer) for call in calls]

    def read(self, sent: Any) -> Iterable[object]:  # noqa: ANN401
        if len(sent) == 1:
            return [sent[0].get(timeout=PATIENCE)]
        results: list[object] = ResultSet(sent).join_native(timeout=PATIENCE)
        return results


def make_producer() -> Tuned:
    """For `produce`."""
    return Tuned()
