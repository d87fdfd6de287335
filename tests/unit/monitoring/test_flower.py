"""The dashboard's password and what it is started with; the dashboard itself is in tests/acceptance."""

import os
import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.options import options

from dispatcher.errors import SettingsError
from dispatcher.extras import install_command
from dispatcher.monitoring import flower
from dispatcher.monitoring.flower import FlowerLauncher, Password, close_dashboard, describe_login
from dispatcher.settings import Settings

URL = "redis://:server-secret@127.0.0.1:6379/0"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", flower_port=0)


class TestPassword:
    def test_it_is_made_at_first_use_and_kept(self, settings: Settings) -> None:
        first, second = Password.of(settings), Password.of(settings)
        assert (first.is_new, second.is_new) == (True, False)
        assert first.text == second.text == first.path.read_text().strip()

    def test_no_two_are_alike(self, tmp_path: Path) -> None:
        made = {Password.of(Settings(state_dir=tmp_path / str(index))).text for index in range(20)}
        assert len(made) == 20
        assert all(len(text) >= 20 for text in made)

    def test_only_its_user_may_read_it(self, settings: Settings) -> None:
        path = Password.of(settings).path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_a_file_that_others_could_read_is_closed(self, settings: Settings) -> None:
        path = Password.of(settings).path
        path.chmod(0o644)
        Password.of(settings)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_an_empty_file_is_no_password(self, settings: Settings) -> None:
        path = Password.of(settings).path
        path.write_text("\n")
        assert Password.of(settings).is_new

    def test_a_folder_that_cannot_be_written_to_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(SettingsError, match=r"file/state/flower\.password; set DISPATCHER_STATE_DIR"):
            Password.of(Settings(state_dir=tmp_path / "file" / "state"))

    def test_it_is_shown_once_and_only_on_a_terminal(self, settings: Settings) -> None:
        new, kept = Password.of(settings), Password.of(settings)
        assert new.text in describe_login(new, to_terminal=True)
        assert new.text not in describe_login(new, to_terminal=False)
        assert new.text not in describe_login(kept, to_terminal=True)
        assert str(kept.path) in describe_login(kept, to_terminal=True)


class TestLauncher:
    def test_a_taken_port_is_told_before_anything_starts(self, settings: Settings) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(SettingsError, match=f"port {port} is taken; set DISPATCHER_FLOWER_PORT"):
                FlowerLauncher(settings, URL).start(port)

    def test_without_flower_the_error_says_what_to_install(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(flower, "find_spec", lambda _: None)
        launcher = FlowerLauncher(settings, URL)
        assert not flower.is_available()
        with pytest.raises(SettingsError, match=re.escape(install_command("dashboard"))):
            launcher.start()


class TestCelerysOwnCommand:
    @pytest.fixture(autouse=True)
    def flowers_options(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Flower's options are the process's; each test begins with the defaults."""
        import flower.options  # noqa: F401 - defines them

        monkeypatch.delenv("FLOWER_READ_ONLY", raising=False)
        before = options.as_dict()
        yield
        for name in ("address", "basic_auth", "auth", "read_only", "unix_socket"):
            setattr(options, name, before[name] or ([] if name == "basic_auth" else before[name]))

    def test_it_gets_loopback_a_password_and_no_buttons(self, settings: Settings) -> None:
        close_dashboard(settings)
        assert options.address == "127.0.0.1"
        assert options.basic_auth == [f"flower:{Password.of(settings).text}"]
        assert options.read_only is True

    def test_what_the_user_says_stands(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        options.address, options.basic_auth = "0.0.0.0", ["ann:hers"]
        monkeypatch.setenv("FLOWER_READ_ONLY", "false")
        close_dashboard(settings)
        assert (options.address, options.basic_auth, options.read_only) == ("0.0.0.0", ["ann:hers"], False)
        assert not settings.state_dir.exists()

    def test_a_log_file_is_told_where_the_password_is_not_what_it_is(
        self, settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        close_dashboard(settings)
        said = capsys.readouterr().err
        assert str(settings.state_dir / "flower.password") in said
        assert Password.of(settings).text not in said


def test_no_secret_is_handed_over_in_a_command_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    class Popen:
        def __init__(self, command: list[str], *, env: dict[str, str], **_: object) -> None:
            started.append((command, env))

    monkeypatch.setattr(subprocess, "Popen", Popen)
    monkeypatch.setenv("DISPATCHER_URL", "redis://elsewhere")
    monkeypatch.setenv("DISPATCHER_BROKER_URL", "redis://elsewhere")
    FlowerLauncher(settings, URL).start()
    ((command, env),) = started
    assert "server-secret" not in " ".join(command)
    assert env["DISPATCHER_URL"] == URL
    assert "DISPATCHER_BROKER_URL" not in env
    assert env["PATH"] == os.environ["PATH"]
