"""A long queue is no reason to publish again."""

import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import redis

from dispatcher import Settings
from tests.acceptance.helpers import ROOT, Worker, environment_of, eventually

JOBS = 100_000
#: After the last job was published.
WATCHED_SECONDS = 8
LARGEST_SHARE_OF_COPIES = 0.01


@pytest.mark.slow
def test_of_a_hundred_thousand_waiting_jobs_less_than_one_in_a_hundred_is_published_twice(
    own_settings: Settings, own_client: redis.Redis, start_worker: Callable[..., Worker]
) -> None:
    def count(name: str) -> int:
        return int(own_client.hget("{dispatcher}:counts", name) or 0)

    # Two producers at once: the order in which jobs are accepted is not quite the order in which they are published.
    command = [sys.executable, "-m", "tests.acceptance.bulk_producer"]
    environment = {**os.environ, **environment_of(own_settings)}
    producers = [
        subprocess.Popen([*command, name, str(JOBS // 2)], cwd=ROOT, env=environment) for name in ("one", "two")
    ]
    try:
        eventually(lambda: count("accepted") > JOBS / 2)
        start_worker(own_settings)
        eventually(lambda: all(producer.poll() is not None for producer in producers))
        assert [producer.returncode for producer in producers] == [0, 0]
    finally:
        for producer in producers:
            producer.kill()
            producer.wait()
    assert count("accepted") == JOBS
    started, until = count("attempts"), time.monotonic() + WATCHED_SECONDS
    eventually(lambda: time.monotonic() > until)

    assert count("attempts") > started + 100, "the worker works all the while"
    waiting = own_client.zcard("{dispatcher}:waiting:idle")
    assert waiting > JOBS / 2, "and the queue is long to the end"
    assert count("republished:lost_message") < JOBS * LARGEST_SHARE_OF_COPIES
    assert count("republished:due") == count("republished:lost_attempt") == 0
    assert own_client.llen("idle") < waiting + JOBS * LARGEST_SHARE_OF_COPIES
    # Nor are many copies made of what is started: those would be the first of ever more.
    assert count("republished:lost_message") < count("attempts") * LARGEST_SHARE_OF_COPIES
