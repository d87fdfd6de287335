"""The producer's side of a run, the same for everybody: wait for the word, do the work, say how it went.

It imports the standard library only, because it runs in the environment of every peer. On standard output it writes a
line `ready`, and later a line of JSON; on standard input it is told `go`, and after that its input ends.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

#: Where the server is, password included: an environment variable, because everybody may read a command line.
URL_VARIABLE = "BENCH_URL"
#: How many calls may wait at once in a worker process, for those who read it in their own settings.
AT_ONCE_VARIABLE = "BENCH_AT_ONCE"
READY, GO = "ready", "go"
#: Calls before the watch runs: what is made at the first call is no call's time.
WARM_UP = 40
#: Seconds after which whoever waits for one result gives up.
PATIENCE = 120
#: How long the function that waits does.
WAIT_SECONDS = 0.1
#: The functions that all peers have.
QUICK, WAITING = "quick", "waiting"
#: Enqueued at once by those whose client opens a connection for each command under way.
AT_ONCE = 100

#: A number and a text: what a function is called with.
Row = tuple[int, str]


def rows(count: int) -> list[Row]:
    """The arguments of so many calls."""
    return [(number, f"row {number}") for number in range(count)]


def answer(number: int, text: str) -> dict[str, object]:
    """What every function returns."""
    return {"number": number, "text": text}


def url() -> str:
    """The server's address."""
    return os.environ[URL_VARIABLE]


def at_once(default: int) -> int:
    """How many calls a worker process may run at once."""
    return int(os.environ.get(AT_ONCE_VARIABLE, default))


class Producer(Protocol):
    """One who sends calls and reads their results."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    async def together(self, function: str, calls: Sequence[Row]) -> Iterable[object]:
        """Have many calls run, sent in the quickest way that is documented; gives all results."""

    async def each(self, function: str, calls: Sequence[Row]) -> Iterable[object]:
        """The same with every call sent by itself, as when many users ask at once."""

    async def one(self, function: str, call: Row) -> object:
        """Have one call run; gives its result."""


class Blocking:
    """A producer without asyncio: gives `send`, `read`, and where there is one a quicker `send_many`."""

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def send(self, function: str, call: Row) -> Any:  # noqa: ANN401 - the peer's own handle
        raise NotImplementedError

    def send_many(self, function: str, calls: Sequence[Row]) -> Any:  # noqa: ANN401
        return [self.send(function, call) for call in calls]

    def read(self, sent: Any) -> Iterable[object]:  # noqa: ANN401
        raise NotImplementedError

    async def together(self, function: str, calls: Sequence[Row]) -> Iterable[object]:
        return self.read(self.send_many(function, calls))

    async def each(self, function: str, calls: Sequence[Row]) -> Iterable[object]:
        return self.read([self.send(function, call) for call in calls])

    async def one(self, function: str, call: Row) -> object:
        (result,) = self.read([self.send(function, call)])
        return result


async def bounded(start: Callable[[Row], Awaitable[Any]], calls: Sequence[Row]) -> list[Any]:
    """Do something with each call, `AT_ONCE` at a time."""
    done: list[Any] = []
    for first in range(0, len(calls), AT_ONCE):
        done += await asyncio.gather(*(start(call) for call in calls[first : first + AT_ONCE]))
    return done


# --- the work ---------------------------------------------------------------------------------------------------------

Said = dict[str, object]


async def _together(producer: Producer, count: int) -> Said:
    return await _timed(producer.together, QUICK, count)


async def _each(producer: Producer, count: int) -> Said:
    return await _timed(producer.each, QUICK, count)


async def _wait_together(producer: Producer, count: int) -> Said:
    return await _timed(producer.together, WAITING, count)


async def _wait_each(producer: Producer, count: int) -> Said:
    return await _timed(producer.each, WAITING, count)


async def _first(producer: Producer, count: int) -> Said:
    return await _timed(producer.each, QUICK, count)


async def _one_by_one(producer: Producer, count: int) -> Said:
    calls, latencies = rows(count), []
    began = time.perf_counter()
    for call in calls:
        sent = time.perf_counter()
        result = await producer.one(QUICK, call)
        latencies.append(time.perf_counter() - sent)
        _must_be(result, call)
    return {"seconds": time.perf_counter() - began, "latencies": latencies}


async def _timed(run: Callable[[str, Sequence[Row]], Awaitable[Iterable[object]]], function: str, count: int) -> Said:
    calls = rows(count)
    began = time.perf_counter()
    results = list(await run(function, calls))
    seconds = time.perf_counter() - began
    if len(results) != count:
        message = f"{len(results)} results of {count} calls"
        raise AssertionError(message)
    for result, call in zip(results, calls, strict=True):
        _must_be(result, call)
    return {"seconds": seconds}


def _must_be(result: object, call: Row) -> None:
    if result != answer(*call):
        message = f"the result of {call} is {result!r}"
        raise AssertionError(message)


#: The work by its name on the command line.
WORK: dict[str, Callable[[Any, int], Awaitable[Said]]] = {
    "map": _together,
    "separate": _each,
    "single": _one_by_one,
    "first": _first,
    "wait-map": _wait_together,
    "wait-separate": _wait_each,
}


#: Work that begins without any call before it: no worker runs yet, or the work warms up by itself.
COLD = frozenset({"first", "stream", "cache", "in-flight", "bulk"})


async def _warm_up(producer: Producer, function: str) -> None:
    """Use every way of sending, so that connections are open and all code is loaded."""
    few = rows(WARM_UP)
    await producer.together(function, few)
    await producer.each(function, few)
    for call in few[:5]:
        await producer.one(function, call)


async def perform(
    producer: Producer,
    work: Callable[[Any, int], Awaitable[Said]],
    function: str | None,
    count: int,
    *,
    on_go: Callable[[], None] | None = None,
) -> None:
    """Warm up with a function, unless that is None; wait for the word, work, tell."""
    await producer.open()
    try:
        if function is not None:
            await _warm_up(producer, function)
        say(READY)
        if sys.stdin.readline().strip() != GO:
            return
        if on_go is not None:
            on_go()
        say(json.dumps(await work(producer, count)))
        sys.stdin.readline()
    finally:
        await producer.close()


def say(line: str) -> None:
    """Write a line for whoever started this program."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
