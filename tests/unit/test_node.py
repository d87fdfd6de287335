"""A worker node by its shortest way: Celery's own command, without what it never uses."""

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dispatcher.execution.worker import WorkerSide
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings
from dispatcher.transport.app import create_app

ROOT = Path(__file__).parents[2]

APP = """
import gc, json, sys
from celery import Celery
from celery.apps.worker import Worker

app = Celery("yours", broker="memory://", set_as_current=False)
while_importing = gc.isenabled()

def start(worker):
    print(json.dumps({
        "pool": worker.pool_cls.__module__, "concurrency": worker.concurrency, "app": worker.app.main,
        "collects_while_importing": while_importing, "collects": gc.isenabled(), "frozen": gc.get_freeze_count(),
        "argv": sys.argv[1:],
        "modules": sorted(sys.modules),
    }))
    worker.exitcode = 3

Worker.start = start
"""


def run(folder: Path, *arguments: str, app: str = APP) -> "subprocess.CompletedProcess[str]":
    """The program, where there is an app `yours` whose worker only says what it is."""
    (folder / "yours.py").write_text(app)
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "dispatcher.node", *arguments],
        env={
            "PYTHONPATH": f"{ROOT}:{folder}", "PATH": "", "CELERY_WORKER_CONCURRENCY": "5",
            "DISPATCHER_URL": "redis://127.0.0.1:1/0",
        },
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = run(tmp_path_factory.mktemp("yours"), "yours:app", "--pool=threads", "--loglevel=error")
    assert done.returncode == 3, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_celerys_worker_runs_with_its_options_and_its_variables(node: dict[str, Any]) -> None:
    assert (node["app"], node["pool"], node["concurrency"]) == ("yours", "celery.concurrency.thread", 5)


def test_it_leaves_out_what_a_worker_never_uses(node: dict[str, Any]) -> None:
    never_used = {
        "celery.bin.celery", "celery.bin.amqp", "prompt_toolkit", "flower", "pygments", "yaml", "amqp.connection",
        "dateutil.parser", "redis.asyncio", "redis.cluster",
    }  # fmt: skip
    assert never_used.isdisjoint(node["modules"])


def test_garbage_is_collected_once_everything_is_imported_and_not_looked_for_in_that(node: dict[str, Any]) -> None:
    assert (node["collects_while_importing"], node["collects"]) == (False, True)
    assert node["frozen"] > 10_000


def test_celery_reads_the_command_line_as_its_own(node: dict[str, Any]) -> None:
    assert node["argv"] == ["-A", "yours:app", "worker", "--pool=threads", "--loglevel=error"]


def test_a_wrong_option_is_told_as_celery_tells_it(tmp_path: Path) -> None:
    done = run(tmp_path, "yours:app", "--pol=solo")
    assert done.returncode == 2
    assert "--pol" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pool_that_is_not_installed_is_told_in_a_line(tmp_path: Path) -> None:
    missing = APP.replace("worker.exitcode = 3", "raise ModuleNotFoundError('no', name='gevent')")
    done = run(tmp_path, "yours:app", "--pool=threads", app=missing)
    assert done.returncode == 1
    assert "the pool gevent needs the package of that name" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("place", "app", "says"),
    [
        ("nowhere:app", APP, "error: there is no module 'nowhere' in "),
        ("no.where", APP, "error: there is no module 'no' in "),
        (
            "yours:app",
            "import dispatcher\napp = dispatcher.Settings.load(lease_seconds=0)",
            "error: DISPATCHER_LEASE_SECONDS: Input should be greater than or equal to 0.5",
        ),
    ],
)
def test_an_app_that_cannot_be_had_is_told_in_a_line(tmp_path: Path, place: str, app: str, says: str) -> None:
    done = run(tmp_path, place, app=app)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(says)
    assert len(done.stderr.splitlines()) == 1


def test_what_the_module_of_an_app_lacks_keeps_its_traceback(tmp_path: Path) -> None:
    done = run(tmp_path, "yours:app", app="import nothing_of_that_name")
    assert "yours.py" in done.stderr
    assert "Traceback" in done.stderr


def test_asked_for_help_it_says_how_it_is_used(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m dispatcher.node APP")


def test_without_an_app_it_says_how_it_is_used(tmp_path: Path) -> None:
    for wrong in ([], ["--pool=solo"]):
        done = run(tmp_path, *wrong)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("usage: python -m dispatcher.node APP")


def test_the_processes_of_a_pool_share_what_was_there_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[str] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append("once"))
    settings = Settings()
    side = WorkerSide(create_app(settings, "redis://127.0.0.1:1/0"), Registry(), settings, "redis://127.0.0.1:1/0")
    for _ in range(3):  # two at the start, and one in the place of one that ended
        side.before_fork(sender=None)
    assert frozen == ["once"]


def test_the_processes_of_a_pool_share_what_their_first_connection_needs() -> None:
    before_fork = (
        "from celery.signals import worker_before_create_process\n"
        "from dispatcher import Registry, create_worker_app\n"
        "create_worker_app(Registry())\n"
        "worker_before_create_process.send(sender=None)"
    )
    first_look_for_a_host = "import socket\nsocket.getaddrinfo('localhost', 0)"
    assert imported_by(before_fork) == imported_by(f"{before_fork}\n{first_look_for_a_host}")


OURS = """
import json, sys
from types import SimpleNamespace
from celery.apps.worker import Worker
from dispatcher import Registry, create_worker_app
from dispatcher.transport.nodes import describe_node

registry = Registry()

@registry.function
def add(a: int, b: int) -> int:
    return a + b

app = create_worker_app(registry)

def start(worker):
    worker.app.backend, worker.app.amqp.queues, worker.blueprint
    describe_node(SimpleNamespace(hostname="node", pool=SimpleNamespace(num_processes=1), app=worker.app), "")
    print(json.dumps({"pool": worker.pool_cls.__module__, "modules": sorted(sys.modules)}))
    worker.exitcode = 3

Worker.start = start
"""


def modules_of_ours(folder: Path, *options: str) -> tuple[str, set[str]]:
    """The pool of a worker of ours, and the modules that there are when it is put together."""
    done = run(folder, "yours:app", "--loglevel=error", *options, app=OURS)
    assert done.returncode == 3, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    return said["pool"], set(said["modules"])


NEVER_USED = {
    "dispatcher.client", "dispatcher.selection", "dispatcher.transport.asyncio_connections",
    "dispatcher.transport.embedded", "amqp.connection", "calendar", "celery.bin.celery", "celery.contrib",
    "csv", "dateutil.parser", "dateutil.tz", "difflib", "email.message", "email.parser", "flower",
    "http.client", "logging.handlers", "numpy", "pprint", "prometheus_client", "prompt_toolkit", "pydantic.v1",
    "pygments", "redis.asyncio", "redis.cluster", "redis.commands.cluster", "redis.commands.json",
    "redis.commands.search", "redis.keyspace_notifications", "rich", "shelve", "typer", "tzlocal", "unittest",
    "urllib.request", "xml", "yaml",
}  # fmt: skip


def test_an_idle_worker_holds_nothing_that_it_may_never_use(tmp_path: Path) -> None:
    pool, modules = modules_of_ours(tmp_path, "--pool=prefork")
    assert (pool, "dispatcher.execution.execute" in modules) == ("celery.concurrency.prefork", True)
    assert NEVER_USED & modules == set()


@pytest.mark.parametrize(
    ("options", "known"),
    [
        (["--pool=prefork"], False),
        (["--pool", "prefork"], False),
        (["-P", "prefork"], False),
        ([], True),  # what the pool is, the app may say
        (["--pool=threads"], True),
        (["--pool=prefork", "--pool=asyncio"], True),
    ],
    ids=str,
)
def test_celery_knows_greenlets_where_a_pool_may_have_them(tmp_path: Path, options: list[str], known: bool) -> None:
    _, modules = modules_of_ours(tmp_path, *options)
    assert ("greenlet" in modules) == known


def test_the_asyncio_pool_has_its_client_before_its_first_call(tmp_path: Path) -> None:
    pool, modules = modules_of_ours(tmp_path, "--pool=asyncio")
    assert (pool, "dispatcher.transport.asyncio_connections" in modules) == ("dispatcher.execution.asyncio_pool", True)


def imported_by(program: str) -> set[str]:
    """The modules that there are after a program."""
    code = f"{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    environment = {"PYTHONPATH": str(ROOT), "DISPATCHER_URL": "redis://127.0.0.1:1/0", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_a_workers_app_imports_nothing_that_only_others_use() -> None:
    imported = imported_by(
        "from dispatcher import Registry, create_worker_app\n"
        "registry = Registry()\n"
        "@registry.function\n"
        "def add(a: int, b: int) -> int:\n"
        "    'The sum.'\n"
        "    return a + b\n"
        "create_worker_app(registry)"
    )
    assert "dispatcher.execution.execute" in imported
    never_used = {
        "numpy", "docstring_parser", "urllib.request", "rich", "typer", "dispatcher.selection", "dispatcher.registry.tools",
        "dispatcher.transport.embedded", "dispatcher.monitoring.flower", "dispatcher.client",
        "dispatcher.transport.asyncio_connections",
    }  # fmt: skip
    assert never_used.isdisjoint(imported)


def test_a_producer_with_a_selector_of_its_own_imports_no_other() -> None:
    program = (
        "from dispatcher import Dispatcher, KeywordSelector, Registry\n"
        "registry = Registry()\n"
        "Dispatcher(registry, selector=KeywordSelector(registry))"
    )
    assert {"numpy", "dispatcher.selection.cascade"}.isdisjoint(imported_by(program))
