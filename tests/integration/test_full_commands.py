"""The command line on a server at `maxmemory`: what reads works, what mends works, what is new is refused whole."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import redis
from typer.testing import CliRunner

from dispatcher import Settings
from dispatcher.cli.main import app
from dispatcher.transport.connection import connect, connect_async
from dispatcher.transport.dead_letters import DeadLetters
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.model_store import RedisModelStore
from tests.integration.ledger_rig import Rig
from tests.integration.test_model_store import model
from tests.integration.test_train import SHOP, TAILS, WORDS

OLDER, NEWER = model(1), model(2)

Ran = SimpleNamespace
Run = Callable[..., Ran]


@pytest.fixture
def rig(own: EmbeddedServer, namespace: str) -> Iterator[Rig]:
    with connect(own.url, role="test") as client:
        made = Rig(client, Settings(namespace=namespace, url=own.url))
        yield made
        client.config_set("maxmemory", 0)
        client.flushall()


@pytest.fixture
def run(own: EmbeddedServer, rig: Rig, tmp_path, monkeypatch) -> Run:
    cached = SHOP.replace(
        "@registry.function\ndef weather", "@registry.function(cache=timedelta(hours=1))\ndef weather"
    )
    (tmp_path / "full_shop.py").write_text("from datetime import timedelta\n" + cached)
    rows = [{"text": f"{word} {tail}", "label": label} for label, word in WORDS.items() for tail in TAILS]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, value in {
        "URL": own.url, "NAMESPACE": rig.settings.namespace, "ENCODER": "none", "APP": "full_shop",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"DISPATCHER_{name}", value)

    def invoke(*words: str) -> Ran:
        result = CliRunner().invoke(app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(code=result.exit_code, out=result.stdout, err=result.stderr)

    return invoke


@pytest.fixture
def jobs(rig: Rig) -> dict[str, str]:
    """What the commands can be asked about, by the words that stand for it below."""
    asyncio.run(keep_models(rig))
    return {"DEAD": rig.dead(), "WAITING": rig.waiting()}


async def keep_models(rig: Rig) -> None:
    async with connect_async(rig.settings.url.get_secret_value(), role="test") as client:
        store = RedisModelStore(client, rig.keys, rig.settings)
        for one in (OLDER, NEWER):
            await store.save(one, promote=True)


@contextmanager
def full(client: redis.Redis) -> Iterator[None]:
    """Full far beyond its reserve."""
    client.config_set("maxmemory", 1)
    yield
    client.config_set("maxmemory", 0)


def all_data(rig: Rig) -> dict[str, bytes | None]:
    """All but the counters: who asks for what is kept is counted."""
    return {key: rig.client.dump(key) for key in rig.every_key() if key != rig.keys.counts}


@pytest.mark.parametrize(
    "words",
    [
        "models",
        "models list --json",
        "dead list",
        "dead show DEAD",
        "status WAITING",
        "status DEAD --json",
        "cache show",
        "explain forecast",
        "ask forecast --dry-run",
        "train rows.jsonl --dry-run",
    ],
)
def test_what_only_reads_works_and_changes_nothing(run: Run, rig: Rig, jobs: dict[str, str], words: str) -> None:
    before = all_data(rig)
    with full(rig.client):
        ran = run(*(jobs.get(word, word) for word in words.split()))
    assert (ran.code, "error" in ran.err) == (0, False), ran.err
    assert all_data(rig) == before


def test_the_doctor_says_that_it_is_full(run: Run, rig: Rig) -> None:
    with full(rig.client):
        ran = run("doctor", "--json")
    assert ran.code == 1
    (memory,) = [check for check in json.loads(ran.out)["checks"] if check["name"] == "memory"]
    assert memory["verdict"] == "fail"


@pytest.mark.parametrize(
    "words",
    ["train rows.jsonl", "dead replay DEAD", "dead replay --all --yes", "cache invalidate weather", "call weather"],
)
def test_what_is_new_is_refused_in_one_line_and_leaves_nothing(
    run: Run, rig: Rig, jobs: dict[str, str], words: str
) -> None:
    before = all_data(rig)
    with full(rig.client):
        ran = run(*(jobs.get(word, word) for word in words.split()))
        told = run(*(jobs.get(word, word) for word in words.split()), "--json")
    assert (ran.code, ran.out, told.code) == (1, "", 1)
    (line,) = [line for line in ran.err.splitlines() if line]
    assert line.startswith("error: redis://")
    assert "the server is out of memory" in line
    assert json.loads(told.out)["error"]["code"] == "server_full"
    assert all_data(rig) == before


class TestWhatMends:
    def test_a_bad_model_is_taken_back(self, run: Run, rig: Rig, jobs: dict[str, str]) -> None:
        with full(rig.client):
            assert run("models", "rollback").out == f"{OLDER.version} is in use now\n"
            assert run("models", "promote", NEWER.version).code == 0
            assert run("models", "promote", "20200101T000000Z-00000000").code == 1
            assert [row["champion"] for row in json.loads(run("models", "--json").out)] == [True, False]

    def test_a_dead_letter_is_discarded_and_a_job_that_waits_is_cancelled(
        self, run: Run, rig: Rig, jobs: dict[str, str]
    ) -> None:
        with full(rig.client):
            assert run("dead", "discard", jobs["DEAD"]).code == 0
            assert run("cancel", jobs["WAITING"]).code == 0
        assert rig.field(jobs["DEAD"], "envelope") is None
        assert rig.state(jobs["WAITING"]) == "cancelled"


def test_of_many_replays_those_before_the_server_was_full_are_told(run: Run, rig: Rig, monkeypatch) -> None:
    letters = {rig.dead() for _ in range(3)}
    replay = DeadLetters.replay

    async def replay_and_fill(self: DeadLetters, job_id: str) -> None:
        await replay(self, job_id)
        rig.client.config_set("maxmemory", 1)

    monkeypatch.setattr(DeadLetters, "replay", replay_and_fill)
    ran = run("dead", "replay", "--all", "--yes", "--json")
    assert ran.code == 1
    told = json.loads(ran.out)
    (replayed,) = told["replayed"]
    (refused,) = told["refused"].values()
    assert refused["code"] == "server_full"
    assert "out of memory" in ran.err
    assert {job_id for job_id in letters if rig.state(job_id) == "waiting"} == {replayed}
