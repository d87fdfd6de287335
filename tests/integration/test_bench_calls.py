"""The benchmark's harness with real processes: programs end with whoever started them, and work is done and counted."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from benchmarks.calls.contestants import OURS, place
from benchmarks.calls.cpu import all_processes
from benchmarks.calls.processes import BenchError, Command, Running
from benchmarks.calls.runs import run_once
from dispatcher.transport.embedded import EmbeddedServer


def program(text: str) -> Command:
    return Command(argv=[sys.executable, "-c", text], environment={})


#: Enough to cost each side a hundredth of a second, which is what the system counts in.
CALLS = 100


def lives(pid: int) -> bool:
    """Whether a process has memory: one that has ended, and that nobody waited for, has none."""
    process = all_processes().get(pid)
    return process is not None and process.resident_bytes > 0


def wait_for_end(pid: int) -> None:
    until = time.monotonic() + 20
    while lives(pid):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_program_ends_with_all_that_it_started(tmp_path: Path) -> None:
    starts_one = "import subprocess as s; print(s.Popen(['sleep', '60']).pid, flush=True); input()"
    with Running(program(starts_one), tmp_path / "log", talking=True) as running:
        child = int(running.hear(20))
        assert child in all_processes()
    assert running.pid not in all_processes()
    wait_for_end(child)


def test_a_program_ends_when_the_harness_is_killed(tmp_path: Path) -> None:
    sleeps = "import time; print('up', flush=True); time.sleep(60)"
    harness = f"""
import sys, time
from pathlib import Path
from benchmarks.calls.processes import Command, Running
with Running(Command(argv=[sys.executable, "-c", {sleeps!r}], environment={{}}), Path({str(tmp_path / "inner")!r}),
             talking=True) as running:
    running.hear(20)
    print(running.pid, flush=True)
    time.sleep(60)
"""
    with Running(program(harness), tmp_path / "log", talking=True) as running:
        sleeper = int(running.hear(20))
        assert lives(sleeper)
        os.kill(running.pid, signal.SIGKILL)
        wait_for_end(sleeper)


def test_one_that_ends_by_itself_is_told_of_with_its_last_words(tmp_path: Path) -> None:
    with (
        Running(program("raise SystemExit('out of tea')"), tmp_path / "log", talking=True) as running,
        pytest.raises(BenchError, match="out of tea"),
    ):
        running.hear(20)


def test_our_work_is_done_and_its_cost_is_split(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "server") as server:
        ours = place(OURS, server.url, tmp_path, lambda _: None)
        run = run_once(server, ours, "single", CALLS, tmp_path)
    assert (run.contestant, run.calls, len(run.latencies)) == (OURS, CALLS, CALLS)
    assert 0 < max(run.latencies) < run.seconds
    assert run.cpu.producer > 0
    assert run.cpu.worker > 0
