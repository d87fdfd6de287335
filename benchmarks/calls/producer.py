"""Our producer, with the same work to do as those of the peers: `peers.produce` runs it."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import SecretStr

from benchmarks.calls.app import Answer, busy, kept, quick, registry, waiting, waiting_long
from benchmarks.calls.peers.producing import QUICK, WAITING, WARM_UP, Row, Said, url
from dispatcher import Dispatcher, Function, Outcome, Settings, Succeeded

#: How often a long map looks at our memory.
LOOKS = 20

FUNCTIONS: dict[str, Function[[int, str], Answer]] = {QUICK: quick, WAITING: waiting}


class Ours:
    """Sends through a `Dispatcher`."""

    def __init__(self) -> None:
        self.dispatcher = Dispatcher(registry, settings=Settings.load(url=SecretStr(url())))

    async def open(self) -> None:
        await self.dispatcher.start()

    async def close(self) -> None:
        await self.dispatcher.close()

    async def together(self, function: str, calls: Sequence[Row]) -> Iterable[object]:
        given = ({"number": number, "text": text} for number, text in calls)
        return [_value(outcome) async for outcome in self.dispatcher.map(FUNCTIONS[function], given)]

    async def each(self, function: str, calls: Sequence[Row]) -> Iterable[object]:
        called = FUNCTIONS[function]
        outcomes = await self.dispatcher.gather(*(called.call(*call) for call in calls))
        return map(_value, outcomes)

    async def one(self, function: str, call: Row) -> object:
        handle = await self.dispatcher.dispatch(FUNCTIONS[function].call(*call))
        return await handle.result()


def _value(outcome: Outcome[Answer]) -> Answer:
    if not isinstance(outcome, Succeeded):
        message = f"a call did not succeed: {outcome}"
        raise TypeError(message)
    return outcome.value


# --- work of ours alone -----------------------------------------------------------------------------------------------


async def _stream(ours: Ours, count: int) -> Said:
    """A map over a long input, nothing of which is kept; looks at our own memory on the way."""
    looks: list[int] = []
    await _drain(ours, quick, WARM_UP)
    began = time.perf_counter()
    done = 0
    async for outcome in ours.dispatcher.map(quick, _given(count)):
        _value(outcome)
        done += 1
        if done % max(1, count // LOOKS) == 0:
            looks.append(_resident())
    return {"seconds": time.perf_counter() - began, "resident": looks}


async def _in_flight(ours: Ours, count: int) -> Said:
    """Calls that wait a second, all at once."""
    await _drain(ours, waiting_long, 1)
    began = time.perf_counter()
    async for outcome in ours.dispatcher.map(waiting_long, _given(count), window=count):
        _value(outcome)
    return {"seconds": time.perf_counter() - began}


async def _bulk(ours: Ours, count: int) -> Said:
    """Work for the workers until whoever started us has seen enough."""
    began = time.perf_counter()
    await _drain(ours, busy, count)
    return {"seconds": time.perf_counter() - began}


async def _cache(ours: Ours, count: int) -> Said:
    """Equal calls one by one, of which only the first is run."""
    call = kept.call(number=1, text="again")
    await (await ours.dispatcher.dispatch(call)).result()
    latencies = []
    began = time.perf_counter()
    for _ in range(count):
        sent = time.perf_counter()
        handle = await ours.dispatcher.dispatch(call)
        await handle.result()
        latencies.append(time.perf_counter() - sent)
        if not handle.cached:
            message = "an equal call was run again"
            raise AssertionError(message)
    return {"seconds": time.perf_counter() - began, "latencies": latencies}


async def _drain(ours: Ours, function: Function[[int, str], Answer], count: int) -> None:
    async for outcome in ours.dispatcher.map(function, _given(count)):
        _value(outcome)


def _given(count: int) -> Iterator[dict[str, object]]:
    return ({"number": number, "text": f"row {number}"} for number in range(count))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


#: Beside the work that everybody has.
WORK = {"stream": _stream, "in-flight": _in_flight, "bulk": _bulk, "cache": _cache}


def make_producer() -> Ours:
    """For `produce`."""
    return Ours()
