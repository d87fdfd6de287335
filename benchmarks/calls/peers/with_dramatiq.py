"""Dramatiq: `dramatiq benchmarks.calls.peers.with_dramatiq --processes 2`, for waiting `dramatiq-gevent`.

Results are kept in Redis (`store_results`), the back end that its guide recommends; many calls are a `group`.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.calls.peers.producing import PATIENCE, WAIT_SECONDS, Blocking, Row, answer, url

broker = RedisBroker(url=url())
broker.add_middleware(Results(backend=RedisBackend(url=url())))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def quick(number: int, text: str) -> dict[str, object]:
    """Nothing but an answer."""
    return answer(number, text)


@dramatiq.actor(store_results=True)
def waiting(number: int, text: str) -> dict[str, object]:
    """An answer after a while."""
    time.sleep(WAIT_SECONDS)
    return answer(number, text)


ACTORS = {"quick": quick, "waiting": waiting}


class Dramatiq(Blocking):
    """Its producer."""

    def send(self, function: str, call: Row) -> Any:  # noqa: ANN401
        return ACTORS[function].send(*call)

    def send_many(self, function: str, calls: Sequence[Row]) -> Any:  # noqa: ANN401
        return dramatiq.group([ACTORS[function].message(*call) for call in calls]).run().children

    def read(self, sent: Any) -> Iterable[object]:  # noqa: ANN401
        return [message.get_result(block=True, timeout=1000 * PATIENCE) for message in sent]


def make_producer() -> Dramatiq:
    """For `produce`."""
    return Dramatiq()
