"""What calls cost a server: it is asked for its own account before and after."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Final

import redis

from benchmarks.scale.needs import Cost, Upkeep
from benchmarks.scale.shapes import QUEUE, SHAPES, Shape, accept, make_jobs, serve
from dispatcher.client.acceptor import BATCH
from dispatcher.clock import SystemClock
from dispatcher.execution.sweeper import Sweeper
from dispatcher.settings import Settings
from dispatcher.transport.app import create_app
from dispatcher.transport.broker import Broker
from dispatcher.transport.commands import Commands
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.ledger import Ledger

PRODUCER: Final = "0123456789abcdef0123456789abcdef"
#: Jobs that a rewrite of the log, and a restart, are measured with; and that are due in one sweep.
UPKEEP_JOBS: Final = 60_000
DUE_JOBS: Final = 2_000
#: How long a rewrite of the log may take.
_REWRITE_SECONDS: Final = 60.0
#: A run is made of: each is measured by itself.
_PARTS: Final = 3
_RESTARTS: Final = 2
#: Here a wake-up is soon taken for lost.
_GRACE_SECONDS: Final = 0.1
#: What the measuring itself asks.
_OWN: Final = ("auth", "client", "config", "flushall", "hello", "info", "ping", "subscribe", "unsubscribe", "script")
_REQUESTS: Final = ("eval", "evalsha", "rpop")


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """What a server says of itself."""

    memory: int
    seconds: float
    requests: int
    commands: int
    in_bytes: int
    out_bytes: int
    log_bytes: int

    @classmethod
    def of(cls, client: redis.Redis) -> "Account":
        info: Mapping[str, Any] = client.info("everything")
        calls = {
            name.removeprefix("cmdstat_"): int(stats["calls"])
            for name, stats in info.items()
            if name.startswith("cmdstat_")
        }
        own = sum(count for name, count in calls.items() if name.partition("|")[0] in _OWN)
        return cls(
            # Not what connections and the log hold for a moment.
            memory=info["used_memory"] - info["mem_clients_normal"] - info["mem_aof_buffer"],
            seconds=info.get("used_cpu_user_main_thread", info["used_cpu_user"])
            + info.get("used_cpu_sys_main_thread", info["used_cpu_sys"]),
            requests=sum(calls.get(name, 0) for name in _REQUESTS),
            commands=sum(calls.values()) - own,
            in_bytes=info["total_net_input_bytes"],
            out_bytes=info["total_net_output_bytes"],
            log_bytes=info.get("aof_current_size", 0),
        )


def measure(client: redis.Redis, shape: Shape, size: float = 1.0) -> Cost:
    """What a call of this shape costs the server.

    Args:
        client: of a server that nobody else uses, and that is emptied.
        shape: of the calls.
        size: of the run: 1 for the full number of calls.
    """
    _warm_up(client, shape)
    jobs = max(2, round(shape.measured * size / shape.calls / _PARTS))
    parts = [_measure_part(client, shape, jobs) for _ in range(_PARTS)]
    medians = {field.name: statistics.median(getattr(part, field.name) for part in parts) for field in fields(Cost)}
    # Whoever else uses this machine only adds to it.
    return Cost(**{**medians, "server_seconds": min(part.server_seconds for part in parts)})


def _measure_part(client: redis.Redis, shape: Shape, jobs: int) -> Cost:
    commands, ledger = Commands(Settings()), Ledger(client)
    _empty(client)
    with _listening(client, commands.keys.announcements(PRODUCER)):
        before = Account.of(client)
        accept(ledger, commands, make_jobs(shape, jobs, producer=PRODUCER), shape)
        waiting = Account.of(client)
        calls = 0
        while served := serve(client, commands):
            calls += served
        after = Account.of(client)
    return Cost(
        waiting_bytes=(waiting.memory - before.memory) / calls,
        kept_bytes=(after.memory - before.memory) / calls,
        server_seconds=(after.seconds - before.seconds) / calls,
        requests=(after.requests - before.requests) / calls,
        commands=(after.commands - before.commands) / calls,
        in_bytes=(after.in_bytes - before.in_bytes) / calls,
        out_bytes=(after.out_bytes - before.out_bytes) / calls,
        log_bytes=(after.log_bytes - before.log_bytes) / calls,
    )


def _empty(client: redis.Redis) -> None:
    client.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call]  # or its memory is given back while the next jobs come


def _warm_up(client: redis.Redis, shape: Shape) -> None:
    """So that the scripts are loaded, and are no part of the figures."""
    commands, ledger = Commands(Settings()), Ledger(client)
    accept(ledger, commands, make_jobs(shape, 2 * shape.woken_together, producer=PRODUCER), shape)
    while serve(client, commands):
        pass


@contextmanager
def _listening(client: redis.Redis, channel: str) -> Iterator[None]:
    """A producer's subscription, which is read at once."""
    with client.pubsub() as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe(**{channel: lambda _: None})
        thread = subscription.run_in_thread(sleep_time=0.2, daemon=True)
        try:
            yield
        finally:
            thread.stop()
            thread.join()


def measure_upkeep(server: EmbeddedServer, size: float) -> Upkeep:
    """What a server full of jobs takes for a rewrite of its log, for a restart and for a sweep."""
    clock = SystemClock()
    shape, commands = SHAPES[1], Commands(Settings())
    with connect(server.url, role="scale") as client:
        _empty(client)
        ledger = Ledger(client)
        swept = max(2, round(DUE_JOBS * size))
        sweep_seconds = _sweep(server.url, client, swept, delay=timedelta(milliseconds=1))
        _empty(client)
        lost_seconds = _sweep(server.url, client, swept, delay=timedelta(0))
        _empty(client)
        _rewrite(client, clock.monotonic)  # it still holds what was measured before
        empty = _restart(server, clock.monotonic)
        before = Account.of(client).memory
        accept(ledger, commands, make_jobs(shape, max(2, round(UPKEEP_JOBS * size)), producer=PRODUCER), shape)
        data = Account.of(client).memory - before
        as_written = _restart(server, clock.monotonic)
        rewrite_seconds, fork_seconds = _rewrite(client, clock.monotonic)
        rewritten = _restart(server, clock.monotonic)
        _empty(client)
    return Upkeep(
        data_bytes=data,
        rewrite_seconds=rewrite_seconds,
        fork_seconds=fork_seconds,
        restart_seconds=max(0.0, rewritten - empty),
        replay_seconds=max(0.0, as_written - empty),
        swept_jobs=swept,
        sweep_seconds=sweep_seconds,
        lost_seconds=lost_seconds,
    )


def _sweep(url: str, client: redis.Redis, jobs: int, *, delay: timedelta) -> float:
    """The time of a sweep in which so many jobs are due, or, where they had no delay, their wake-ups lost."""
    settings = Settings(republish_grace_seconds=_GRACE_SECONDS)
    commands, ledger = Commands(settings), Ledger(client)
    made = make_jobs(SHAPES[1], jobs, producer=PRODUCER, delay=delay)
    broker = Broker(create_app(settings, url), "scale")
    try:
        sweeper = Sweeper(broker, ledger, settings, "scale")
        ledger.run(commands.accept_many(make_jobs(SHAPES[1], 1, producer=PRODUCER)))
        sweeper.sweep()  # it sees that the broker has no message, and its connection is made
        for start in range(0, jobs, BATCH):
            ledger.run(commands.accept_many(made[start : start + BATCH]))
        time.sleep(2 * _GRACE_SECONDS)
        began = time.perf_counter()
        sweeper.sweep()
        took = time.perf_counter() - began
        woken = client.llen(QUEUE)
    finally:
        broker.disconnect()
    if woken < jobs:
        msg = f"a sweep brought {woken} of {jobs} jobs back"
        raise RuntimeError(msg)
    return took


def _rewrite(client: redis.Redis, now: Callable[[], float]) -> tuple[float, float]:
    """The time of a rewrite of the log, and of the fork at its begin."""
    began = now()
    client.bgrewriteaof()
    while client.info("persistence")["aof_rewrite_in_progress"]:
        if now() - began > _REWRITE_SECONDS:
            msg = f"the server did not rewrite its log within {_REWRITE_SECONDS:g} s"
            raise RuntimeError(msg)
        time.sleep(0.005)
    return now() - began, client.info("stats")["latest_fork_usec"] / 1e6


def _restart(server: EmbeddedServer, now: Callable[[], float]) -> float:
    """The time of a restart, the best of some."""
    took = []
    for _ in range(_RESTARTS):
        began = now()
        server.restart()
        took.append(now() - began)
    return min(took)
