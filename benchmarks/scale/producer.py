"""What calls cost the event loop of a producer: a real one, with a stand-in for the workers."""

import asyncio
import threading
import time
from collections.abc import Iterator

from pydantic import SecretStr

from benchmarks.calls.app import quick
from benchmarks.calls.app import registry as functions
from benchmarks.scale.shapes import QUEUE, Shape, serve
from dispatcher import Dispatcher, Settings, Succeeded
from dispatcher.selection.keyword import KeywordSelector
from dispatcher.transport.commands import Commands
from dispatcher.transport.connection import connect

#: The longest that a producer may take for all.
_SECONDS = 60.0


def measure_producer(url: str, shape: Shape, size: float = 1.0) -> float:
    """Seconds of the event loop's thread for one call: bound, accepted, its outcome read."""
    calls = max(2 * shape.calls, round(shape.measured * size / 4))
    with _Workers(url):
        return asyncio.run(asyncio.wait_for(_produce(url, shape, calls), _SECONDS)) / calls


async def _produce(url: str, shape: Shape, calls: int) -> float:
    settings = Settings(url=SecretStr(url))
    async with Dispatcher(functions, settings=settings, selector=KeywordSelector(functions)) as dispatcher:
        await _call(dispatcher, shape, 2 * shape.calls)  # what is made at the first use
        began = time.thread_time()
        await _call(dispatcher, shape, calls)
        return time.thread_time() - began


async def _call(dispatcher: Dispatcher, shape: Shape, calls: int) -> None:
    if shape.calls > 1:
        async for outcome in dispatcher.map(quick, _rows(calls), calls_per_job=shape.calls):
            if not isinstance(outcome, Succeeded):
                msg = f"a call did not succeed: {outcome}"
                raise RuntimeError(msg)  # noqa: TRY004 - an outcome, not an argument
    elif shape.accepted_together == 1:
        for row in _rows(calls):
            await (await dispatcher.dispatch(quick.bind(row))).result()
    else:
        await asyncio.gather(*[_one(dispatcher, row) for row in _rows(calls)])


async def _one(dispatcher: Dispatcher, row: dict[str, object]) -> None:
    await (await dispatcher.dispatch(quick.bind(row))).result()


def _rows(calls: int) -> Iterator[dict[str, object]]:
    return ({"number": number, "text": "a short line of some words"} for number in range(calls))


class _Workers:
    """A thread that ends whatever is accepted."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scale-workers", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        with connect(self._url, role="scale-workers") as client:
            commands = Commands(Settings())
            while not self._ending.is_set():
                if not serve(client, commands, (QUEUE, f"{QUEUE}.bulk")):
                    time.sleep(0.0005)
