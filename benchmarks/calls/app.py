"""The functions that are called, as a deployment of ours has them: arguments and results are checked on both sides."""

import asyncio
import time
from datetime import timedelta

from typing_extensions import TypedDict  # pydantic cannot read that of `typing` before Python 3.12

from benchmarks.calls.peers.producing import WAIT_SECONDS
from dispatcher import Registry

registry = Registry()

#: What the function that works takes of a processor.
BUSY_SECONDS = 0.001


class Answer(TypedDict):
    """What every function returns."""

    number: int
    text: str


@registry.function
def quick(number: int, text: str) -> Answer:
    """Nothing but an answer."""
    return {"number": number, "text": text}


@registry.function
async def waiting(number: int, text: str) -> Answer:
    """An answer after a while."""
    await asyncio.sleep(WAIT_SECONDS)
    return {"number": number, "text": text}


@registry.function
async def waiting_long(number: int, text: str) -> Answer:
    """An answer after a second."""
    await asyncio.sleep(1)
    return {"number": number, "text": text}


@registry.function
def busy(number: int, text: str) -> Answer:
    """An answer after a millisecond of work."""
    until = time.thread_time() + BUSY_SECONDS
    while time.thread_time() < until:
        pass
    return {"number": number, "text": text}


@registry.function(cache=timedelta(minutes=10))
def kept(number: int, text: str) -> Answer:
    """An answer that may be used again."""
    return {"number": number, "text": text}
