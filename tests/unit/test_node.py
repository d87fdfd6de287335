"""A worker node by its shortest way: Celery's own command, without what it never uses."""

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dispatcher.execution.worker import WorkerSide
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings
from dispatcher.transport.app import create_app

ROOT = Path(__file__).parents[2]

APP = """
import gc, json, sys
from celery import Celery
from celery.apps.worker import Worker

app = Celery("yours", broker="memory://", set_as_current=False)
while_importing = gc.isenabled()

def start(worker):
    print(json.dumps({
        "pool": worker.pool_cls.__module__, "concurrency": worker.concurrency, "app": worker.app.main,
        "collects_while_importing": while_importing, "collects": gc.isenabled(), "argv": sys.argv[1:],
        "modules": sorted(sys.modules),
    }))
    worker.exitcode = 3

Worker.start = start
"""


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The program, where there is an app `yours` whose worker only says what it is."""
    (folder / "yours.py").write_text(APP)
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "dispatcher.node", *arguments],
        env={"PYTHONPATH": f"{ROOT}:{folder}", "PATH": "", "CELERY_WORKER_CONCURRENCY": "5"},
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = run(tmp_path_factory.mktemp("yours"), "yours:app", "--pool=threads", "--loglevel=error")
    assert done.returncode == 3, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_celerys_worker_runs_with_its_options_and_its_variables(node: dict[str, Any]) -> None:
    assert (node["app"], node["pool"], node["concurrency"]) == ("yours", "celery.concurrency.thread", 5)


def test_it_leaves_out_what_a_worker_never_uses(node: dict[str, Any]) -> None:
    never_used = {"celery.bin.celery", "celery.bin.amqp", "prompt_toolkit", "flower", "pygments"}
    assert never_used.isdisjoint(node["modules"])


def test_garbage_is_collected_once_everything_is_imported(node: dict[str, Any]) -> None:
    assert (node["collects_while_importing"], node["collects"]) == (False, True)


def test_celery_reads_the_command_line_as_its_own(node: dict[str, Any]) -> None:
    assert node["argv"] == ["-A", "yours:app", "worker", "--pool=threads", "--loglevel=error"]


def test_a_wrong_option_is_told_as_celery_tells_it(tmp_path: Path) -> None:
    done = run(tmp_path, "yours:app", "--pol=solo")
    assert done.returncode == 2
    assert "--pol" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_an_app_it_says_how_it_is_used(tmp_path: Path) -> None:
    for wrong in ([], ["--pool=solo"]):
        done = run(tmp_path, *wrong)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("usage: python -m dispatcher.node APP")


def test_the_processes_of_a_pool_share_what_was_there_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[str] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append("once"))
    settings = Settings()
    side = WorkerSide(create_app(settings, "redis://127.0.0.1:1/0"), Registry(), settings, "redis://127.0.0.1:1/0")
    for _ in range(3):  # two at the start, and one in the place of one that ended
        side.before_fork(sender=None)
    assert frozen == ["once"]
