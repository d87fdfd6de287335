"""An embedded server in another folder is named to whoever starts a second one."""

from pathlib import Path

import pytest

from dispatcher.settings import Settings
from dispatcher.transport import elsewhere
from dispatcher.transport.elsewhere import folders_elsewhere, mention_elsewhere

SERVER = b"/usr/bin/valkey-server"


@pytest.fixture
def running(monkeypatch, tmp_path) -> list[list[bytes]]:
    """The command lines of this user's processes."""
    lines: list[list[bytes]] = [[b"python", b"-m", b"dispatcher"], []]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(elsewhere, "_command_lines", lambda: iter(lines))
    return lines


def serve(lines: list[list[bytes]], folder: Path) -> None:
    lines.append([SERVER, bytes(folder / "server.conf")])


def test_one_in_another_folder_is_found_and_ones_own_is_not(running, tmp_path) -> None:
    serve(running, tmp_path / ".dispatcher")
    assert mention_elsewhere(Settings()) == ""
    serve(running, Path("/srv/shop/.dispatcher"))
    assert folders_elsewhere(Settings()) == [Path("/srv/shop/.dispatcher")]
    assert "runs in /srv/shop/.dispatcher: who shall share one" in mention_elsewhere(Settings())


def test_servers_of_other_programs_and_folders_of_other_names_are_none(running) -> None:
    serve(running, Path("/srv/shop/state"))
    running.append([SERVER, b"/etc/valkey/valkey.conf"])
    running.append([b"vi", b"-R", b"/srv/shop/.dispatcher/server.conf"])
    assert folders_elsewhere(Settings()) == []


@pytest.mark.parametrize("named", [{"url": "redis://ledger/0"}, {"state_dir": "/srv/state/.dispatcher"}])
def test_who_names_a_server_or_a_folder_for_all_means_it(running, named) -> None:
    serve(running, Path("/srv/shop/.dispatcher"))
    assert folders_elsewhere(Settings(**named)) == []


def test_a_name_of_several_folders_is_compared_whole(running) -> None:
    serve(running, Path("/srv/shop/var/state"))
    serve(running, Path("/srv/bank/state"))
    assert folders_elsewhere(Settings(state_dir=Path("var/state"))) == [Path("/srv/shop/var/state")]


def test_of_many_some_are_named(running) -> None:
    for n in range(5):
        serve(running, Path(f"/srv/{n}/.dispatcher"))
    assert "/srv/2/.dispatcher and others:" in mention_elsewhere(Settings())
