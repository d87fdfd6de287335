"""A hint that says how to install an extra works where the package came from."""

import json
import shlex
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from dispatcher import extras
from dispatcher.extras import install_command, reinstall_command

ROOT = Path(__file__).parents[2]


@pytest.fixture
def installed_from(monkeypatch: pytest.MonkeyPatch):
    """Has the package installed from somewhere; None: found by its name in an index."""

    class Distribution:
        def __init__(self, origin: object) -> None:
            self._origin = origin

        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return None if self._origin is None else json.dumps(self._origin)

    return lambda origin: monkeypatch.setattr(extras, "distribution", lambda _: Distribution(origin))


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "our clone"
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    return folder


def test_from_an_index_it_is_the_name(installed_from) -> None:
    installed_from(None)
    assert install_command("dashboard") == "pip install 'function-dispatcher[dashboard]'"
    assert shlex.split(reinstall_command())[-1] == "function-dispatcher"


def test_from_a_clone_it_is_its_folder(installed_from, clone: Path) -> None:
    installed_from({"url": clone.as_uri(), "dir_info": {}})
    assert shlex.split(install_command("all")) == ["pip", "install", f"{clone}[all]"]
    assert shlex.split(reinstall_command())[-1] == str(clone)


def test_from_a_clone_that_is_worked_on_it_stays_editable(installed_from, clone: Path) -> None:
    installed_from({"url": clone.as_uri(), "dir_info": {"editable": True}})
    assert shlex.split(install_command("all")) == ["pip", "install", "-e", f"{clone}[all]"]


def test_where_the_clone_is_gone_it_says_so(installed_from, clone: Path) -> None:
    (clone / "pyproject.toml").unlink()
    installed_from({"url": clone.as_uri(), "dir_info": {}})
    assert install_command("plots") == "pip install '<path to the clone>[plots]'"


def test_from_a_file_it_is_that_file(installed_from) -> None:
    url = "file:///wheels/function_dispatcher-1-py3-none-any.whl"
    installed_from({"url": url, "archive_info": {}})
    assert install_command("server") == f"pip install 'function-dispatcher[server] @ {url}'"


def test_from_a_repository_it_is_the_same_commit(installed_from) -> None:
    installed_from({"url": "https://host/d.git", "vcs_info": {"vcs": "git", "commit_id": "abc123"}})
    assert install_command("server") == "pip install 'function-dispatcher[server] @ git+https://host/d.git@abc123'"


@pytest.mark.parametrize(
    ("noted", "shown"),
    [
        ("https://ann:s3cret@host/d.git", "https://host/d.git"),
        ("https://s3cret@host:8443/d.git", "https://host:8443/d.git"),
        ("https://s3cret:x-oauth-basic@host/d.git", "https://host/d.git"),
        ("https://git:s3cret@host/d.git", "https://host/d.git"),
        ("https://${USER}:s3cret@host/d.git", "https://host/d.git"),
        ("https://host/d.git?private_token=s3cret", "https://host/d.git"),
        ("https://${USER}:${TOKEN}@host/d.git", "https://${USER}:${TOKEN}@host/d.git"),
        ("ssh://git@host/d.git", "ssh://git@host/d.git"),
        ("file:///srv/our%20repository/d.git", "file:///srv/our%20repository/d.git"),
    ],
)
def test_a_hint_holds_no_secret_of_the_address(installed_from, noted: str, shown: str) -> None:
    installed_from({"url": noted, "vcs_info": {"vcs": "git", "commit_id": "abc123"}})
    assert shlex.split(install_command("all"))[-1] == f"function-dispatcher[all] @ git+{shown}@abc123"
    installed_from({"url": noted, "archive_info": {}})
    assert shlex.split(install_command("all"))[-1] == f"function-dispatcher[all] @ {shown}"


def test_from_a_folder_of_a_repository_it_is_that_folder(installed_from) -> None:
    vcs = {"vcs": "git", "commit_id": "abc123"}
    installed_from({"url": "https://host/all.git", "vcs_info": vcs, "subdirectory": "lib/d"})
    said = "function-dispatcher[all] @ git+https://host/all.git@abc123#subdirectory=lib/d"
    assert shlex.split(install_command("all"))[-1] == said


@pytest.mark.parametrize(
    "noted",
    [[], "text", {}, {"url": None}, {"url": 7, "dir_info": {}}, {"url": "https://[host"}, {"url": "x", "vcs_info": {}},
     {"url": "x", "vcs_info": {"vcs": "git"}}, {"url": "x", "vcs_info": "git"}],
)  # fmt: skip
def test_a_note_that_cannot_be_read_is_no_error_of_the_hint(installed_from, noted: object) -> None:
    installed_from(noted)
    assert "function-dispatcher[all]" in install_command("all")


def test_where_it_is_not_installed_but_lies_on_the_path_it_is_the_folder_it_lies_in(monkeypatch) -> None:
    def not_there(_: str) -> None:
        raise PackageNotFoundError

    monkeypatch.setattr(extras, "distribution", not_there)
    assert shlex.split(install_command("server"))[-1] == f"{ROOT}[server]"


def test_nothing_else_says_how_to_install_an_extra() -> None:
    home = ROOT / "dispatcher" / "extras.py"
    others = [
        path
        for path in (ROOT / "dispatcher").rglob("*.py")
        if path != home and "function-dispatcher[" in path.read_text()
    ]
    assert others == []
