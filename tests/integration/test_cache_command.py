"""`dispatcher cache` on a real server: what it counts, and that what it invalidates is called again."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dispatcher import Registry, Settings
from dispatcher.cli.main import app
from dispatcher.client.sync import SyncDispatcher
from dispatcher.testing import embedded_worker
from dispatcher.testing.embedded import QUICK_SETTINGS
from dispatcher.transport.embedded import EmbeddedServer

registry = Registry()


@registry.function(cache=timedelta(minutes=1), tags=["money"])
def price(item: str) -> str:
    """Say a price."""
    return item


@registry.function(tags=["free"])
def gift(item: str) -> str:
    """Give."""
    return item


@pytest.fixture
def dispatcher(server: EmbeddedServer, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncDispatcher]:
    settings = Settings(**{**QUICK_SETTINGS, "url": server.url, "namespace": namespace})
    monkeypatch.setenv("DISPATCHER_NAMESPACE", namespace)
    monkeypatch.setenv("DISPATCHER_APP", f"{__name__}:registry")
    monkeypatch.chdir(Path(__file__).parents[2])
    with embedded_worker(registry, settings), SyncDispatcher(registry, settings=settings) as made:
        yield made


@pytest.fixture
def run(server: EmbeddedServer) -> Callable[..., Any]:
    """Run `dispatcher cache …`; what it says as JSON."""

    def run(*words: str, code: int = 0) -> Any:
        ran = CliRunner().invoke(app, ["cache", *words, "--url", server.url, "--json"])
        assert ran.exit_code == code, ran.output
        return json.loads(ran.stdout)

    return run


def is_kept(dispatcher: SyncDispatcher, item: str) -> bool:
    handle = dispatcher.dispatch(price.call(item))
    assert handle.result(timedelta(seconds=20)) == item
    return handle.cached


def test_lookups_are_shown_by_function(dispatcher: SyncDispatcher, run: Callable[..., Any], server: Any) -> None:
    assert run("show") == {"functions": {}, "invalidations": 0}
    assert [is_kept(dispatcher, "tea") for _ in range(3)] == [False, True, True]
    assert run("show") == {"functions": {"price": {"hit": 2, "shared": 0, "miss": 1}}, "invalidations": 0}
    shown = CliRunner().invoke(app, ["cache", "show", "--url", server.url]).stdout
    assert shown.split()[-5:] == ["price", "2", "0", "1", "67%"]


@pytest.mark.parametrize("words", [("price",), ("price", "--version", "1"), ("--tag", "money"), ("price", "item=tea")])
def test_what_is_invalidated_is_called_again(
    dispatcher: SyncDispatcher, run: Callable[..., Any], words: tuple[str, ...]
) -> None:
    for item in ("tea", "milk"):
        is_kept(dispatcher, item)
    assert run("invalidate", *words)["invalidated"] == ["price"]
    assert not is_kept(dispatcher, "tea")
    assert is_kept(dispatcher, "milk") == (words == ("price", "item=tea"))
    assert run("show")["invalidations"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [(("gift",), "gift keeps no results"), (("--tag", "free"), "'free'"), (("prise",), "prise")],
)
def test_what_keeps_nothing_is_refused(
    dispatcher: SyncDispatcher, run: Callable[..., Any], words: tuple[str, ...], said: str
) -> None:
    assert said in str(run("invalidate", *words, code=1))
    assert run("show")["invalidations"] == 0
