"""`dispatcher train` on a real server: what was said there is learnt, and producers take what came of it."""

import asyncio
import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from dispatcher import Dispatcher, Registry, Settings
from dispatcher.cli.main import app
from dispatcher.transport.connection import connect_async
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.training_lock import TrainingLock
from tests.integration.ledger_rig import Rig

SHOP = '''
from dispatcher import Registry

registry = Registry()


@registry.function
def weather() -> str:
    """Tell the forecast."""
    return "rain"


@registry.function
def mail(to: str) -> None:
    """Send a mail."""
'''
TAILS = [
    f"{a} {b}"
    for a in ("it", "that", "this", "the lot", "them", "all", "some")
    for b in ("now", "soon", "please", "again", "once", "twice")
]
WORDS = {"weather": "wug", "mail": "dax", None: "blicket"}


@pytest.fixture
def run(server: EmbeddedServer, rig: Rig, tmp_path, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    (tmp_path / "learnt_shop.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, value in {
        "URL": server.url, "NAMESPACE": rig.settings.namespace, "ENCODER": "none", "APP": "learnt_shop",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"DISPATCHER_{name}", value)

    def invoke(*words: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return invoke


def make_registry() -> Registry:
    registry = Registry()
    exec(SHOP.partition("registry = Registry()")[2], {"registry": registry})
    return registry


def settings(**more: object) -> Settings:
    return Settings(learn_interval_seconds=0.05, feedback_per_source=1_000, **more)


def test_what_producers_were_told_makes_a_model_that_they_take(run, tmp_path) -> None:
    async def tell() -> None:
        async with Dispatcher(make_registry(), settings=settings()) as dispatcher:
            for function, word in WORDS.items():
                for tail in TAILS:
                    selection = await dispatcher.select(f"{word} {tail}")
                    opinion = {"nothing": True} if function is None else {"function": function}
                    await dispatcher.feedback(selection, **opinion)

    asyncio.run(tell())
    code, out, err = run("train", "--json")
    assert code == 0, err
    data = json.loads(out)
    assert data["better"] is True
    assert data["texts"] == {"feedback": len(WORDS) * len(TAILS)}

    async def ask() -> tuple[str | None, str]:
        async with Dispatcher(make_registry(), settings=settings()) as dispatcher:
            selection = await dispatcher.select("wug everything")
            return selection.candidates[0].function, selection.model

    assert asyncio.run(ask()) == ("weather", data["promoted"])
    code, out, _ = run("models")
    assert code == 0
    assert data["promoted"] in out
    # At the command line too it is selected as producers do.
    for words in (("explain", "wug that please"), ("ask", "wug that please", "--dry-run")):
        code, out, err = run(*words, "--json")
        assert code == 0, err
        assert json.loads(out)["function"] == "weather"
    assert json.loads(run("explain", "wug that please", "--json")[1])["model"] == data["promoted"]
    untrained = json.loads(run("explain", "wug that please", "--untrained", "--json")[1])
    assert (untrained["decision"], untrained["model"]) == ("abstain", "")
    (tmp_path / "rows.jsonl").write_text('{"text": "wug that please", "label": "weather"}\n')
    accuracies = [
        json.loads(run("evaluate", "rows.jsonl", *more, "--json")[1])["in_scope"]["accuracy_of_calls"]["value"]
        for more in ((), ("--untrained",))
    ]
    assert accuracies == [1, 0]
    assert run("models", "rollback")[0] == 1


def test_one_trainer_at_a_time(run, server, rig) -> None:
    async def held() -> tuple[int, str, str]:
        async with connect_async(server.url) as client, TrainingLock(client, rig.keys).held():
            return await asyncio.to_thread(run, "train")

    code, _, err = asyncio.run(held())
    assert code == 1
    assert "another trainer is at work" in " ".join(err.split())
