"""The command line without a server: what it refuses, reads and shows."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dispatcher.cli.main import app

SHOP = '''
from dispatcher import KeywordSelector, Registry

registry = Registry()
empty = Registry()
number = 7


@registry.function(queue="slow", examples=["a price please"], tags={"money"})
def price(item: str, count: int = 1, gift: bool = False) -> float:
    """Say what something costs.

    Of course in euros.

    Args:
        item: its name.
        count: how many.
    """
    return 2.5 * count


@registry.function(name="mail.send", sensitive={"body"})
async def send(body: str) -> None:
    """Send a mail."""


selector = KeywordSelector(registry)
'''


class Ran:
    """What a command wrote, and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def words(self) -> str:
        """Standard error in one line: boxes and line breaks are for people's eyes."""
        return " ".join(self.err.replace("│", " ").split())

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder with a registry in `shop.py`; what is imported from it is forgotten afterwards."""
    (tmp_path / "shop.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("DISPATCHER_URL", "DISPATCHER_APP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPATCHER_STATE_DIR", str(tmp_path / "state"))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def run(folder: Path) -> Callable[..., Ran]:
    """Run a command in that folder."""

    def invoke(*words: str, **options: Any) -> Ran:
        result = CliRunner().invoke(app, list(words), **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return invoke
