"""Runs of models, and forks in their midst."""

import os
import threading

import pytest

from dispatcher.selection.encoders.sessions import _runs

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),  # since 3.12
]


def fork():
    """Whether a child can run a model."""
    child = os.fork()
    if not child:
        with _runs.one():
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_fork_waits_for_the_runs_of_other_threads():
    begun, stop, ended = threading.Event(), threading.Event(), []

    def run():
        with _runs.one(), _runs.one():
            begun.set()
            stop.wait(30)
            ended.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    begun.wait(30)
    threading.Timer(0.2, stop.set).start()
    assert fork()
    assert ended == [True]
    thread.join()


def test_a_fork_in_the_midst_of_its_own_run_does_not_wait_for_itself():
    with _runs.one():
        assert fork()


def test_runs_begin_again_after_a_fork():
    assert fork()
    begun = threading.Event()

    def run():
        with _runs.one():
            begun.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert begun.wait(30)
