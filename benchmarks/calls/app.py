"""The functions that are called, as a deployment of ours has them: arguments and results are checked on both sides."""

import asyncio
from datetime import timedelta

from typing_extensions import TypedDict  # pydantic cannot read that of `typing` before Python 3.12

from benchmarks.calls.peers.producing import WAIT_SECONDS
from dispatcher import Registry

registry = Registry()


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


@registry.function(cache=timedelta(minutes=10))
def kept(number: int, text: str) -> Answer:
    """An answer that may be used again."""
    return {"number": number, "text": text}
