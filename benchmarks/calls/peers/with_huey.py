"""Huey: `huey_consumer benchmarks.calls.peers.with_huey.huey -k process -w 2`, for waiting `-k greenlet`.

Results are read as soon as they are announced (`notify_result`); sending many has no quicker way than `map`.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from huey import RedisHuey

from benchmarks.calls.peers.producing import PATIENCE, WAIT_SECONDS, Blocking, Row, answer, url

huey = RedisHuey("bench", url=url(), blocking=True, notify_result=True)


@huey.task()
def quick(number: int, text: str) -> dict[str, object]:
    """Nothing but an answer."""
    return answer(number, text)


@huey.task()
def waiting(number: int, text: str) -> dict[str, object]:
    """An answer after a while."""
    time.sleep(WAIT_SECONDS)
    return answer(number, text)


TASKS = {"quick": quick, "waiting": waiting}


class Huey(Blocking):
    """Its producer."""

    def send(self, function: str, call: Row) -> Any:  # noqa: ANN401
        return TASKS[function](*call)

    def send_many(self, function: str, calls: Sequence[Row]) -> Any:  # noqa: ANN401
        return TASKS[function].map(calls)

    def read(self, sent: Any) -> Iterable[object]:  # noqa: ANN401
        return [result.get(blocking=True, timeout=PATIENCE) for result in sent]


def make_producer() -> Huey:
    """For `produce`."""
    return Huey()
