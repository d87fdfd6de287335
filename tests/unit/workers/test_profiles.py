"""The profiles of worker nodes."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

import tasks
from dispatcher import Registry, Settings, node
from dispatcher.transport.app import queue_names
from workers import profiles
from workers.profiles import PROFILES, worker_arguments

ROOT = Path(__file__).parents[3]


@pytest.fixture
def registry() -> Registry:
    registry = Registry()

    @registry.function
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    @registry.function(queue="slow", timeout=timedelta(hours=2))
    def render(scene: str) -> str:
        """Take hours."""
        return scene

    return registry


def test_interactive_and_bulk_share_all_queues_between_them(registry: Registry) -> None:
    interactive, bulk = (set(PROFILES[name].queues(registry)) for name in ("interactive", "bulk"))
    assert interactive & bulk == set()
    assert interactive | bulk == set(PROFILES["all"].queues(registry)) == set(queue_names(registry))


def test_people_do_not_wait_behind_batches(registry: Registry) -> None:
    assert set(PROFILES["interactive"].queues(registry)) == {"default.high", "default", "slow.high", "slow", "celery"}
    assert set(PROFILES["bulk"].queues(registry)) == {"default.bulk", "slow.bulk"}


def test_a_hanging_process_is_ended_after_the_longest_call_may_have_ended(registry: Registry) -> None:
    settings = Settings(outage_seconds=30, kill_grace_seconds=2)
    limit = PROFILES["interactive"].time_limit(registry, settings)
    assert limit == timedelta(hours=2, seconds=2 * 30 + 2 + 60)
    assert PROFILES["bulk"].time_limit(registry, settings) is None


def test_functions_without_a_timeout_count_with_the_default() -> None:
    limit = PROFILES["interactive"].time_limit(Registry(), Settings(default_timeout_seconds=10_000))
    assert limit is not None
    assert limit > timedelta(seconds=10_000)


def test_the_arguments_are_celerys(registry: Registry) -> None:
    arguments = worker_arguments("bulk", registry, Settings())
    assert arguments[0] == "worker"
    assert {"--hostname=bulk@%h", "--queues=default.bulk,slow.bulk", "--pool=prefork"} <= set(arguments)


def test_a_node_for_coroutines_consumes_the_queues_that_hold_nothing_else() -> None:
    registry = Registry(async_queue="async")

    @registry.function
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    @registry.function
    async def fetch(address: str) -> str:
        """Wait for the network."""
        return address

    @registry.function(queue="mixed")
    async def fetch_more(address: str) -> str:
        """Wait for the network, in a queue with others."""
        return address

    @registry.function(queue="mixed")
    def render(scene: str) -> str:
        """Take hours."""
        return scene

    assert (add.options.queue, fetch.options.queue, fetch_more.options.queue) == ("default", "async", "mixed")
    assert PROFILES["async"].queues(registry) == ["async.high", "async", "async.bulk"]
    assert set(PROFILES["all"].queues(registry)) == set(queue_names(registry)) > {"async", "async.high", "async.bulk"}
    assert {"--pool=asyncio", "--concurrency=1000"} <= set(worker_arguments("async", registry, Settings()))


def test_without_such_a_queue_it_says_what_to_do(registry: Registry) -> None:
    with pytest.raises(ValueError, match="no queue holds coroutines alone"):
        worker_arguments("async", registry, Settings())


def test_a_name_that_is_none_is_told_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "start", lambda *_: pytest.fail("a worker was started"))
    for wrong in ([], ["fast"]):
        with pytest.raises(SystemExit, match=r"\{all,interactive,bulk,async\}"):
            profiles.main(wrong)


def test_a_wrong_setting_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "start", lambda *_: pytest.fail("a worker was started"))
    monkeypatch.setenv("DISPATCHER_LEASE_SECONDS", "long")
    with pytest.raises(SystemExit, match="error: DISPATCHER_LEASE_SECONDS: Input should be a valid number"):
        profiles.main(["all"])


def test_the_users_own_options_come_last_and_so_win(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DISPATCHER_STATE_DIR", str(tmp_path))
    became: list[tuple[str, list[str]]] = []

    def start(place: str, arguments: list[str]) -> int:
        became.append((place, arguments))
        return 3

    monkeypatch.setattr(node, "start", start)
    with pytest.raises(SystemExit) as ended:
        profiles.main(["bulk", "--concurrency=3"])
    ((place, arguments),) = became
    assert (place, ended.value.code) == ("workers.app", 3)
    assert arguments == [*worker_arguments("bulk", tasks.registry, Settings())[1:], "--concurrency=3"]


STARTED = """
import json, sys
from dispatcher import node
from workers import profiles

def start(place, arguments):
    import workers.app
    print(json.dumps(sorted(sys.modules)))
    return 0

node.start = start
profiles.main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("options", "greenlet"), [(["bulk"], False), (["bulk", "--pool=asyncio"], True), (["bulk", "-P", "solo"], True)]
)
def test_a_node_imports_no_more_than_its_pool_needs(options: list[str], greenlet: bool, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTED, *options],
        env={"PYTHONPATH": str(ROOT), "DISPATCHER_URL": "redis://127.0.0.1:1/0", "PATH": "", "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert {"celery.apps.worker", "dispatcher.execution.execute"} <= modules
    assert {"redis.asyncio", "amqp.connection", "dateutil.parser"}.isdisjoint(modules)
    assert ("greenlet" in modules) == greenlet


def test_the_containers_workers_together_consume_every_queue() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    used = {service["command"][-1] for service in services.values() if "workers.profiles" in service.get("command", [])}
    assert used == {"interactive", "bulk"}
