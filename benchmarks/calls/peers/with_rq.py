"""RQ: `rq worker-pool --num-workers 2`, whose workers fork for every job; many go in one pipeline (`enqueue_many`)."""

from collections.abc import Iterable, Sequence
from typing import Any

from redis import Redis
from rq import Queue

from benchmarks.calls.peers.producing import PATIENCE, Blocking, Row, answer, url

queue = Queue("bench", connection=Redis.from_url(url()))


def quick(number: int, text: str) -> dict[str, object]:
    """Nothing but an answer."""
    return answer(number, text)


class Rq(Blocking):
    """Its producer. It has no form for calls that wait: a worker runs one at a time."""

    def send(self, function: str, call: Row) -> Any:  # noqa: ANN401, ARG002
        return queue.enqueue(quick, *call)

    def send_many(self, function: str, calls: Sequence[Row]) -> Any:  # noqa: ANN401, ARG002
        return queue.enqueue_many([Queue.prepare_data(quick, args=call) for call in calls])

    def read(self, sent: Any) -> Iterable[object]:  # noqa: ANN401
        return [job.latest_result(timeout=PATIENCE).return_value for job in sent]


def make_producer() -> Rq:
    """For `produce`."""
    return Rq()
