"""What Celery's packages import and a worker node hardly ever uses, left until it is used.

`import redis` brings along its asyncio side, its clusters and its keyspace notifications; py-amqp brings a client of a
broker that most have not; Celery and kombu bring YAML and the reading of dates; to know the version of a package, all
of them bring a reader of e-mail. All that is 6 MB in each process of a node (benchmark: idle). While those packages are
imported, modules that give promises stand in for it. Afterwards `import redis.asyncio` imports what it says,
`redis.RedisCluster` imports the module where it lives (PEP 562), and a function that is only called is imported with
its first call.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final

#: By package: modules of it that its others only pass on while they are imported. Versions may lack some.
PARTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "amqp": ("amqp.basic_message", "amqp.channel", "amqp.connection"),
        "redis": (
            "redis._parsers.commands",
            "redis.asyncio",
            "redis.cluster",
            "redis.commands.cluster",
            "redis.keyspace_notifications",
        ),
    }
)

#: What Celery and kombu import and only call: for an ETA, a message in YAML, a file, a hint at a misspelt name.
#: And what Python's own `importlib.metadata` does, for what it reads of a package beyond its version.
CALLED_ONLY: Final = (
    "calendar",
    "csv",
    "dateutil.parser",
    "dateutil.tz",
    "difflib",
    "importlib.metadata._adapters",
    "logging.handlers",
    "pprint",
    "shelve",
    "tzlocal",
    "yaml",
)


class Promise:
    """Something of a module that is not imported yet. It can be called."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def keep(self) -> Any:  # noqa: ANN401 - whatever it is
        """Import the module, whatever stands in for it, and give what was promised."""
        if isinstance(sys.modules.get(self._module), StandIn):
            del sys.modules[self._module]
        return getattr(import_module(self._module), self._name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        return self.keep()(*arguments, **named)


class StandIn(ModuleType):
    """A module in the place of another: it gives a promise for every name.

    Args:
        name: the other's.
        path: where its submodules are, which are imported as always; None: it has none.
    """

    def __init__(self, name: str, path: Sequence[str] | None = None) -> None:
        super().__init__(name)
        if path is not None:
            self.__path__ = list(path)

    def __getattr__(self, name: str) -> Promise:
        if name.startswith("__"):
            raise AttributeError(name)
        return Promise(self.__name__, name)


@contextmanager
def left_until_called() -> Iterator[None]:
    """Have what is imported meanwhile import the modules of `CALLED_ONLY` at their first call."""
    left = [name for name in CALLED_ONLY if _can_be_left(name)]
    with _standing_in([StandIn(name) for name in left]):
        yield
    for name in left:
        _show_in_its_package(name)


def _can_be_left(name: str) -> bool:
    """Whether it is there, and not imported yet.

    What is private to a package, only that imports: it is left without a look, which would import the package.
    """
    if name in sys.modules:
        return False
    return _is_private(name) or (find_spec(name) is not None and name not in sys.modules)


def _is_private(name: str) -> bool:
    return name.rpartition(".")[2].startswith("_")


def _show_in_its_package(name: str) -> None:
    """Have it found as a name of its package by those who do not import it, as if it had been imported."""
    package = sys.modules.get(name.rpartition(".")[0])
    if package is not None and not _is_private(name) and "__getattr__" not in vars(package):
        _promise_parts(package, CALLED_ONLY)


def import_without_parts(name: str) -> None:
    """Import a package of `PARTS` without them; with them where it needs one. What is there already stays as it is."""
    if name in sys.modules or (spec := find_spec(name)) is None:
        return
    with _standing_in(list(_parts_in(spec.submodule_search_locations or (), PARTS[name]))):
        try:
            import_module(name)
        except (ImportError, AttributeError, TypeError):
            holders = None
        else:
            holders = [module for module in _modules_of(name) if any(map(_is_promised, vars(module).values()))]
    if holders is not None and all(map(_only_passes_names_on, holders)):
        for package in holders:
            _promise_parts(package, PARTS[name])
        return
    for module in _modules_of(name):
        del sys.modules[module.__name__]
    import_module(name)


@contextmanager
def _standing_in(modules: Sequence[StandIn]) -> Iterator[None]:
    """Have imports find these meanwhile. None of the modules that they stand for may be imported yet."""
    sys.modules.update({module.__name__: module for module in modules})
    try:
        yield
    finally:
        for module in modules:
            if sys.modules.get(module.__name__) is module:
                del sys.modules[module.__name__]


def _parts_in(roots: Sequence[str], parts: Sequence[str]) -> Iterator[StandIn]:
    """Stand-ins for what there is of the parts of a package, which is in these folders."""
    for name in parts:
        _, *between, _ = name.split(".")
        spec = PathFinder.find_spec(name, [str(Path(root, *between)) for root in roots])
        if spec is not None:
            yield StandIn(name, spec.submodule_search_locations)


def _modules_of(package: str) -> list[ModuleType]:
    return [module for name, module in sys.modules.items() if name == package or name.startswith(f"{package}.")]


def _is_promised(value: object) -> bool:
    return isinstance(value, (Promise, StandIn))


def _only_passes_names_on(module: ModuleType) -> bool:
    """Whether it is a package, which can be asked for names that it does not have yet. Its own code cannot."""
    return hasattr(module, "__path__") and "__getattr__" not in vars(module)


def _promise_parts(package: ModuleType, parts: Sequence[str]) -> None:
    """Take out of a package what stand-ins gave, and import it when it is asked for."""
    promised = {name: value for name, value in vars(package).items() if _is_promised(value)}

    def give(name: str) -> object:
        own, whole = promised.get(name), f"{package.__name__}.{name}"
        if isinstance(own, Promise):
            value: object = own.keep()
        elif whole in parts and find_spec(whole) is not None:
            value = import_module(whole)
        else:
            msg = f"module {package.__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        vars(package)[name] = value
        return value

    for name in promised:
        del vars(package)[name]
    vars(package)["__getattr__"] = give


def version(distribution_name: str) -> str:
    """The version of what is installed, as `importlib.metadata.version` gives it, without a reader of e-mail.

    Raises:
        PackageNotFoundError: it is not installed.
    """
    from importlib import metadata  # noqa: PLC0415 - after what it imports was left

    distribution = metadata.distribution(distribution_name)
    said = re.search(r"^Version:(.+)$", distribution.read_text("METADATA") or "", re.MULTILINE)
    return said[1].strip() if said is not None else distribution.version


@contextmanager
def versions_by_themselves() -> Iterator[None]:
    """Have everybody ask for versions by `version`: kombu's Redis transport does when imported, redis-py later."""
    from importlib import metadata  # noqa: PLC0415 - after what it imports was left

    usual, metadata.version = metadata.version, version
    try:
        yield
    finally:
        metadata.version = usual
