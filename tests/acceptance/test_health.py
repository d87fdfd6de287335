"""The health of a worker node, as a container's probe sees it, and the life of its file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher import Settings
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance.helpers import QUICK_SETTINGS, ROOT, Marks, Worker, environment_of, eventually


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that a test may kill."""
    with EmbeddedServer(tmp_path / "server") as running:
        yield running


@pytest.fixture
def own_settings(own_server: EmbeddedServer, tmp_path: Path) -> Settings:
    return Settings.load(url=own_server.url, state_dir=tmp_path / "state", **QUICK_SETTINGS)


@pytest.fixture
def own_worker(own_settings: Settings, marks: Marks) -> Iterator[Worker]:
    """A node of the repository's own fleet."""
    with Worker(own_settings, marks, app="workers.app") as running:
        yield running


@pytest.fixture
def file(own_settings: Settings) -> Path:
    return own_settings.state_dir / "worker.health"


def probe(settings: Settings) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **environment_of(settings)}
    command = [sys.executable, "-m", "workers.health"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_node_is_healthy_from_the_moment_it_consumes_until_it_is_told_to_end(
    own_settings: Settings, own_worker: Worker, file: Path
) -> None:
    assert probe(own_settings).returncode == 0
    own_worker.signal(signal.SIGTERM)
    eventually(lambda: not file.exists())
    ill = probe(own_settings)
    assert (ill.returncode, ill.stderr.strip()) == (1, f"no worker consumes: there is no {file}")
    eventually(lambda: not own_worker.alive)


def test_the_file_is_touched_again_and_again(own_worker: Worker, file: Path) -> None:
    os.utime(file, (0, 0))
    eventually(lambda: time.time() - file.stat().st_mtime < 60, within=15)


def test_a_node_that_was_killed_leaves_a_file_that_nobody_touches(
    own_settings: Settings, own_worker: Worker, file: Path
) -> None:
    own_worker.kill()
    assert file.exists()
    long_ago = time.time() - 31
    os.utime(file, (long_ago, long_ago))
    ill = probe(own_settings)
    assert ill.returncode == 1
    assert "hangs" in ill.stderr


def test_a_node_without_a_broker_is_not_healthy_and_comes_back_by_itself(
    own_server: EmbeddedServer, own_settings: Settings, own_worker: Worker, file: Path
) -> None:
    own_server.kill()
    eventually(lambda: not file.exists())
    assert probe(own_settings).returncode == 1
    own_server.restart()
    eventually(file.exists)
    assert probe(own_settings).returncode == 0
