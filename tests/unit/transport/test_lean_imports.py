"""Imports that a node leaves until they are used: everything is there for who asks for it, and the same as always."""

import json
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest

from dispatcher.transport import lean_imports
from dispatcher.transport.lean_imports import (
    PARTS,
    Promise,
    import_without_parts,
    left_until_called,
    version,
    versions_by_themselves,
)

ROOT = Path(__file__).parents[3]
LEAN = "from dispatcher.transport.lean_imports import import_without_parts, left_until_called, version\n"


def run(program: str) -> object:
    """What a program in a process of its own prints last, as JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# --- parts of packages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", PARTS)
def test_a_package_is_there_without_its_parts(package: str) -> None:
    imported = run(f"{LEAN}import_without_parts({package!r})\nimport json, sys\nprint(json.dumps(list(sys.modules)))")
    assert isinstance(imported, list)
    assert package in imported
    assert {*PARTS[package]}.isdisjoint(imported)


SHOW = """
import importlib, json
def show(package):
    module = importlib.import_module(package)
    values = {name: getattr(module, name) for name in module.__all__}
    return {name: f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value))}"
            for name, value in values.items()}
"""


@pytest.mark.parametrize("package", ["amqp", "redis", "redis.commands", "redis._parsers"])
def test_all_its_names_are_what_they_always_are(package: str) -> None:
    show = f"{SHOW}\nprint(json.dumps(show({package!r}), sort_keys=True))"
    lean = run(f"{LEAN}import_without_parts({package.partition('.')[0]!r}){show}")
    assert lean == run(show)
    assert isinstance(lean, dict)
    assert len(lean) >= 10


def test_its_parts_can_be_imported_in_every_way_and_are_there_once() -> None:
    same = run(
        f"{LEAN}import_without_parts('redis')\n"
        "import redis, json\n"
        "lazily = redis.RedisCluster, redis.asyncio.Redis, redis.cluster.RedisCluster\n"
        "import redis.asyncio as aio, redis.asyncio.client, redis.asyncio.retry\n"
        "from redis import asyncio, cluster, RedisCluster\n"
        "from redis.asyncio import Redis\n"
        "from redis.asyncio.cluster import RedisCluster as AsyncCluster\n"
        "print(json.dumps([RedisCluster is lazily[0] is lazily[2] is cluster.RedisCluster,\n"
        "    Redis is lazily[1] is redis.asyncio.client.Redis, asyncio is aio is redis.asyncio,\n"
        "    AsyncCluster is redis.asyncio.RedisCluster]))"
    )
    assert same == [True] * 4


def test_a_submodule_of_a_part_can_be_the_first_that_is_imported() -> None:
    same = run(
        f"{LEAN}import_without_parts('redis')\n"
        "import json\nfrom redis.asyncio.connection import ConnectionPool\n"
        "import redis\nprint(json.dumps(redis.asyncio.ConnectionPool is ConnectionPool))"
    )
    assert same is True


def test_another_broker_finds_its_client() -> None:
    program = (
        "from kombu.transport.pyamqp import Connection\n"
        "import amqp, amqp.connection, json\n"
        "print(json.dumps([amqp.Connection is amqp.connection.Connection, issubclass(Connection, amqp.Connection)]))"
    )
    assert run(f"{LEAN}import_without_parts('amqp')\n{program}") == [True, True]


def test_a_name_that_there_is_not_is_an_attribute_error_as_always() -> None:
    import_error = (
        "try: from redis import nothing\nexcept ImportError as error: print(json.dumps(hasattr(redis, 'no')))"
    )
    assert run(f"{LEAN}import_without_parts('redis')\nimport json, redis\n{import_error}") is False


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A package with a part `part` that has a class `Thing`."""
    name = f"lean_{request.node.name.partition('[')[0]}"[:60]
    folder = tmp_path / name
    folder.mkdir()
    (folder / "part.py").write_text("class Thing:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lean_imports, "PARTS", {name: (f"{name}.part", f"{name}.of_another_version")})
    return name


def write(folder: Path, package: str, **modules: str) -> None:
    for name, text in modules.items():
        (folder / package / f"{name}.py").write_text(text.replace("PACKAGE", package))


def test_parts_that_this_version_lacks_are_no_matter(package: str, tmp_path: Path) -> None:
    write(tmp_path, package, __init__="from PACKAGE.part import Thing\n")
    import_without_parts(package)
    assert f"{package}.part" not in sys.modules
    module = sys.modules[package]
    assert module.Thing is module.part.Thing
    assert not hasattr(module, "of_another_version")


@pytest.mark.parametrize(
    "other",
    [
        "from PACKAGE.part import Thing\nclass Other(Thing): pass\n",
        "from PACKAGE.part import Thing\ndef make(): return Thing()\n",
        "import PACKAGE.part\npart = PACKAGE.part\n",
        "from PACKAGE.part import Thing\nif Thing.size > 1: pass\n",
    ],
    ids=["subclass", "global name", "module", "value"],
)
def test_a_part_that_others_need_is_imported_with_them(package: str, tmp_path: Path, other: str) -> None:
    write(tmp_path, package, __init__="from PACKAGE.part import Thing\nimport PACKAGE.other\n", other=other)
    if "size" in other:
        write(tmp_path, package, part="class Thing:\n    size = 1\n")
    import_without_parts(package)
    module = sys.modules[package]
    assert isinstance(module.Thing, type)
    assert "__getattr__" not in vars(module)
    assert module.other.__name__ == f"{package}.other"


def test_a_package_that_finds_names_by_itself_goes_on_to(package: str, tmp_path: Path) -> None:
    write(tmp_path, package, __init__="from PACKAGE.part import Thing\ndef __getattr__(name): return name\n")
    import_without_parts(package)
    assert sys.modules[package].anything == "anything"
    assert isinstance(sys.modules[package].Thing, type)


def test_what_is_imported_already_stays_as_it_is() -> None:
    module = import_module("redis")
    before = vars(module).copy()
    import_without_parts("redis")
    assert (sys.modules["redis"], vars(module)) == (module, before)


# --- modules that are only called -------------------------------------------------------------------------------------

USES = {
    "an ETA": "celery.utils.time.maybe_iso8601('2026-11-05T10:00:00+01:00').isoformat()",
    "a day that summer time begins": (
        "celery.utils.time.make_aware(datetime(2026, 3, 29, 2, 30), ZoneInfo('Europe/Berlin')).isoformat()"
    ),
    "the machine's time zone": "str(celery.utils.time.get_localzone())",
    "YAML": "loads(*[dumps({'a': [1, None]}, serializer='yaml')[i] for i in (2, 0, 1)], accept=['application/x-yaml'])",
    "a month's last day": "(datetime(2024, 1, 31) + celery.utils.time.ffwd(month=2)).isoformat()",
    "a log file": "type(kombu.log.setup_logging('INFO', '/dev/null').handlers[0]).__name__",
    "a misspelt name": "kombu.utils.text.fmatch_best('redsi', ['redis', 'amqp'])",
    "what a package says of itself": "importlib.metadata.metadata('redis').json",
    "the files of a package": "list(map(str, importlib.metadata.files('redis')))",
}


@pytest.mark.parametrize("use", USES)
def test_what_is_only_called_does_what_it_always_does(use: str) -> None:
    modules = "celery.apps.worker, celery.utils.time, importlib.metadata, kombu.log, kombu.utils.text, json"
    ask = (
        "from datetime import datetime\nfrom zoneinfo import ZoneInfo\nfrom kombu.serialization import dumps, loads\n"
        f"print(json.dumps({USES[use]}))"
    )
    left = run(f"{LEAN}with left_until_called():\n    import {modules}\n{ask}")
    assert left == run(f"import {modules}\n{ask}")


def test_it_is_imported_with_its_first_call(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, package, __init__="def __getattr__(name): raise AttributeError(name)\n")
    monkeypatch.setattr(lean_imports, "CALLED_ONLY", (f"{package}.part",))
    with left_until_called():
        thing = import_module(f"{package}.part").Thing
    assert isinstance(thing, Promise)
    assert f"{package}.part" not in sys.modules
    made = thing()
    assert type(made) is sys.modules[f"{package}.part"].Thing


def test_it_may_be_called_while_others_are_imported_too(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, package, __init__="def __getattr__(name): raise AttributeError(name)\n")
    monkeypatch.setattr(lean_imports, "CALLED_ONLY", (f"{package}.part",))
    with left_until_called():
        made = import_module(f"{package}.part").Thing()
    assert type(made) is sys.modules[f"{package}.part"].Thing


def test_what_is_found_only_where_somebody_imported_it_is_imported(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, package, __init__="")  # `import package; package.part` works after any import of the part
    monkeypatch.setattr(lean_imports, "CALLED_ONLY", (f"{package}.part",))
    with left_until_called():
        import_module(f"{package}.part")
    assert isinstance(sys.modules[package].part.Thing, type)


def test_a_module_of_pythons_own_is_found_in_its_package_as_where_celery_imports_it() -> None:
    found = (
        "import json, logging\nwith left_until_called():\n    import kombu.log\n"
        "handlers = logging.handlers\nimport logging.handlers as same\n"
        "print(json.dumps([handlers is same, handlers.WatchedFileHandler.__name__, hasattr(logging, 'no')]))"
    )
    assert run(f"{LEAN}{found}") == [True, "WatchedFileHandler", False]


def test_what_is_private_to_a_package_is_left_without_importing_that(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path, package, __init__="from . import _own\ndef make(): return _own.Thing()\n", _own="class Thing: pass\n"
    )
    monkeypatch.setattr(lean_imports, "CALLED_ONLY", (f"{package}._own",))
    with left_until_called():
        assert package not in sys.modules
        module = import_module(package)
    assert f"{package}._own" not in sys.modules
    assert type(module.make()) is module._own.Thing is sys.modules[f"{package}._own"].Thing


def test_what_its_package_imports_by_itself_is_imported_once(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, package, __init__="from . import part\n")
    monkeypatch.setattr(lean_imports, "CALLED_ONLY", (f"{package}.part",))
    with left_until_called():
        pass
    assert sys.modules[f"{package}.part"] is sys.modules[package].part


def test_what_is_not_installed_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean_imports, "CALLED_ONLY", ("no_such_module",))
    with left_until_called(), pytest.raises(ModuleNotFoundError):
        import_module("no_such_module")


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["celery", "Kombu", "pydantic_core", "redis"])
def test_a_version_is_the_same_without_a_reader_of_mail(name: str) -> None:
    read = (
        "with left_until_called():\n    import importlib.metadata\n"
        f"import json, sys\nprint(json.dumps([version({name!r}), 'email.parser' in sys.modules]))"
    )
    assert run(f"{LEAN}{read}") == [metadata.version(name), False]


@pytest.mark.parametrize(
    ("folder", "file", "text"),
    [
        (
            "one-1.dist-info",
            "METADATA",
            "Metadata-Version: 2.4\nName: one\nVersion:  1.2rc1 \n\nWhat it is.\nVersion: 9\n",
        ),
        ("one-1.dist-info", "METADATA", "Name: one\nversion: 1.2rc1\n"),
        ("one.egg-info", "PKG-INFO", "Name: one\nVersion: 1.2rc1\n"),
    ],
    ids=["usual", "small letters", "egg"],
)
def test_a_version_is_found_wherever_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, file: str, text: str
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / file).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert version("one").strip() == metadata.version("one").strip() == "1.2rc1"


def test_what_is_not_installed_has_no_version() -> None:
    with pytest.raises(metadata.PackageNotFoundError):
        version("no-such-package")


def test_everybody_reads_versions_so_for_a_while() -> None:
    usual = metadata.version
    with versions_by_themselves():
        assert metadata.version is version
    assert metadata.version is usual
