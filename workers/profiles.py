"""Which queues a worker node consumes, and how: `python -m workers.profiles NAME [celery options]` starts one.

`celery -A workers.app worker` alone is the profile `all`, less its bounds. Separate nodes for `interactive` and `bulk`
keep a person from waiting behind a batch, however long its calls are. A node `async` runs a thousand coroutines in one
process. It consumes the queues that hold nothing else, as `Registry(async_queue="async")` makes one; give the other
nodes `--exclude-queues=async,async.high,async.bulk` to keep them out of there.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from dispatcher import DispatcherError, Registry, Settings, node

#: Beyond the longest call: for settling it, and for a busy machine.
_MARGIN: Final = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """How a kind of worker node runs."""

    #: Whether it consumes the queues of batches (`….bulk`), and whether all others.
    bulk: bool
    interactive: bool
    #: Whether it consumes only queues in which there is nothing but coroutines.
    coroutines: bool = False
    #: Celery's pool. Prefork can end a call that does not stop, without harm to others.
    pool: str = "prefork"
    #: Jobs at once; `auto` is as many as the machine or the container has processors.
    concurrency: str = "auto"
    #: Whether Celery ends a process that is held by one message for longer than any call may take: a function that
    #: never gives up the interpreter's lock can be ended by nobody else. Not for batches: they hold many calls.
    bounded: bool = False

    def queues(self, registry: Registry) -> list[str]:
        """The names of the queues it consumes."""
        from dispatcher.transport.app import CELERY_DEFAULT_QUEUE, queue_names  # noqa: PLC0415 - it imports Celery

        names = [name for name in queue_names(registry) if (self.bulk if name.endswith(".bulk") else self.interactive)]
        if not self.coroutines:
            return names
        mixed = {function.options.queue for function in registry if not function.is_async} | {CELERY_DEFAULT_QUEUE}
        own = {function.options.queue for function in registry} - mixed
        return [name for name in names if name.removesuffix(".high").removesuffix(".bulk") in own]

    def time_limit(self, registry: Registry, settings: Settings) -> timedelta | None:
        """After which Celery ends a process, whatever it does."""
        if not self.bounded:
            return None
        default = timedelta(seconds=settings.default_timeout_seconds)
        longest = max((function.options.timeout or default for function in registry), default=default)
        # A worker bears an outage before it runs a call, and another before it settles it.
        patience = timedelta(seconds=settings.kill_grace_seconds + 2 * settings.outage_seconds)
        return longest + patience + _MARGIN


PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        "all": Profile(bulk=True, interactive=True),
        "interactive": Profile(bulk=False, interactive=True, bounded=True),
        "bulk": Profile(bulk=True, interactive=False),
        "async": Profile(bulk=True, interactive=True, coroutines=True, pool="asyncio", concurrency="1000"),
    }
)


def worker_arguments(name: str, registry: Registry, settings: Settings) -> list[str]:
    """What `celery -A workers.app` is told for a profile.

    Raises:
        KeyError: there is no such profile.
        ValueError: it has no queue to consume.
    """
    profile = PROFILES[name]
    queues = profile.queues(registry)
    if not queues:
        msg = f"no queue holds coroutines alone: give each `async def` the same queue=…, and profile {name!r} has work"
        raise ValueError(msg)
    arguments = [
        "worker",
        f"--hostname={name}@%h",
        f"--queues={','.join(queues)}",
        f"--pool={profile.pool}",
        f"--concurrency={profile.concurrency}",
        "--loglevel=INFO",
        # Nodes need not know each other: the ledger does. It saves about a second at the start.
        "--without-gossip",
        "--without-mingle",
    ]
    limit = profile.time_limit(registry, settings)
    if limit is not None:
        arguments.append(f"--time-limit={limit.total_seconds():.0f}")
    return arguments


def main(arguments: Sequence[str]) -> None:
    """Become the worker: this process is then Celery's, and gets its signals."""
    if not arguments or arguments[0] not in PROFILES:
        sys.exit(f"usage: python -m workers.profiles {{{','.join(PROFILES)}}} [celery worker options]")
    node.import_celery([f"--pool={PROFILES[arguments[0]].pool}", *arguments[1:]])
    try:
        from tasks import registry  # noqa: PLC0415 - a wrong profile is told at once

        _, *options = worker_arguments(arguments[0], registry, Settings.load())
    except (DispatcherError, ValueError) as error:
        sys.exit(f"error: {error}")
    sys.exit(node.start("workers.app", [*options, *arguments[1:]]))


if __name__ == "__main__":
    main(sys.argv[1:])
