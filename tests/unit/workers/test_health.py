"""A worker node's health file, and the probe that looks at it."""

import os
from pathlib import Path

import pytest

from workers import health
from workers.health import health_file, problem

NOW = 1_800_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker.health"


def touched(path: Path, seconds_ago: float) -> Path:
    path.touch()
    os.utime(path, (NOW - seconds_ago, NOW - seconds_ago))
    return path


@pytest.mark.parametrize("seconds_ago", [0, 5, 29.9])
def test_a_file_touched_lately_is_a_healthy_worker(path: Path, seconds_ago: float) -> None:
    assert problem(touched(path, seconds_ago), NOW) is None


@pytest.mark.parametrize("seconds_ago", [31, 3600])
def test_an_old_file_is_a_worker_that_hangs(path: Path, seconds_ago: float) -> None:
    assert problem(touched(path, seconds_ago), NOW) == f"the worker hangs: it last touched {path} {seconds_ago} s ago"


def test_no_file_is_a_worker_that_does_not_consume(path: Path) -> None:
    assert problem(path, NOW) == f"no worker consumes: there is no {path}"


def test_a_clock_set_back_is_no_illness(path: Path) -> None:
    assert problem(touched(path, -120), NOW) is None


def test_the_probe_exits_with_0_or_1(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_HEALTH_FILE", str(path))
    with pytest.raises(SystemExit) as ended:
        health.main()
    assert ended.value.code == f"no worker consumes: there is no {path}"
    path.touch()
    health.main()


def test_a_wrong_setting_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKER_HEALTH_FILE", raising=False)
    monkeypatch.setenv("DISPATCHER_LEASE_SECONDS", "long")
    with pytest.raises(SystemExit, match="DISPATCHER_LEASE_SECONDS: Input should be a valid number"):
        health.main()


def test_the_file_is_in_the_state_folder_unless_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKER_HEALTH_FILE", raising=False)
    monkeypatch.setenv("DISPATCHER_STATE_DIR", str(tmp_path))
    assert health_file() == tmp_path / "worker.health"
    monkeypatch.setenv("WORKER_HEALTH_FILE", str(tmp_path / "second"))
    assert health_file() == tmp_path / "second"
