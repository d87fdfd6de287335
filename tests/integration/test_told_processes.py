"""Processes of a prefork pool that end between what they are told of a job and its beginning."""

import itertools
import os
import signal
import time
from collections.abc import Iterator

import billiard.pool
import pytest
from kombu.asynchronous import Hub

from dispatcher.execution.prompt_pool import Pool
from tests.integration.test_prompt_pool import Told, hub, run_until

__all__ = ["hub"]


@pytest.fixture
def pool(hub: Hub) -> Iterator[Pool]:
    made = Pool(1, threads=False, allow_restart=True)
    made.register_with_event_loop(hub)
    run_until(hub, lambda: made._all_inqueues)
    yield made
    made.terminate()
    made.join()


def test_a_process_that_was_told_of_a_job_runs_it_before_it_ends(hub: Hub, pool: Pool) -> None:
    told, after = Told(), Told()
    (process,) = pool._pool
    time.sleep(0.3)  # until it waits for a job: it looks whether it is to end before it waits
    pool.restart()
    pool.foretell("a task", "job-1", "w@h")
    told.apply(pool, os.getpid, job_id="job-1")
    run_until(hub, lambda: told.results)
    assert told.results == [process.pid], "another would be refused the job, which this one has asked for"
    after.apply(pool, os.getpid, job_id="job-2")
    run_until(hub, lambda: after.results)
    assert after.results != [process.pid]


def test_the_first_job_of_a_node_whose_process_ended_before_it_began_is_given_to_another(
    hub: Hub,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(billiard.pool, "job_counter", itertools.count())
    told = Told()
    (process,) = pool._pool
    os.kill(process.pid, signal.SIGSTOP)
    told.apply(pool, os.getpid, job_id="job-1")
    os.kill(process.pid, signal.SIGKILL)
    run_until(hub, lambda: told.results or told.failures)
    assert not told.failures, "it is not taken for one that was begun"
    assert told.results == [pid for pid, _ in told.accepted] != [process.pid]
