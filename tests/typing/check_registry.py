"""What a type checker knows of registered functions. Checked by mypy, never run."""

from collections.abc import Coroutine
from typing import Any, assert_type

from dispatcher.model.call import Call
from dispatcher.registry.function import AsyncFunction, Function, SyncFunction
from dispatcher.registry.registry import Registry

registry = Registry()


@registry.function
def add(a: int, b: int = 2) -> float:
    return a + b


@registry.function(tags=["x"], examples=["fetch it"])
async def fetch(url: str, *, retries: int = 0) -> bytes:
    return b""


@registry.function()
def nothing() -> None: ...


def check_calls() -> None:
    assert_type(add.call(1, b=2), Call[float])
    assert_type(fetch.call("x", retries=1), Call[bytes])
    assert_type(nothing.call(), Call[None])
    add.call("1")  # type: ignore[arg-type]
    add.call()  # type: ignore[call-arg]
    fetch.call("x", 1)  # type: ignore[call-arg]
    fetch.call("x", tries=1)  # type: ignore[call-arg]


async def check_plain_calls() -> None:
    assert_type(add(1), float)
    made = assert_type(fetch("x"), Coroutine[Any, Any, bytes])
    assert_type(await made, bytes)
    add("1")  # type: ignore[arg-type]


def check_kinds() -> None:
    assert isinstance(add, SyncFunction)
    assert isinstance(fetch, AsyncFunction)
    assert_type(add.load_result("1"), float)
    assert_type(fetch.load_result('""'), bytes)
    assert_type(add.bind("{}"), Call[float])
    assert_type(registry.bind("add", {}), Call[object])
    assert_type(registry.get("add"), Function[..., object])


def take(function: Function[[str], bytes]) -> bytes:
    return function.load_result(function.dump_result(b""))


def check_passing_on(call: Call[object]) -> None:
    @registry.function
    async def load(url: str) -> bytes:
        return b""

    take(load)
    take(add)  # type: ignore[arg-type]
    check_passing_on(add.call(1))  # a call of a float is a call of an object


def check_options() -> None:
    registry.function(timout=5)  # type: ignore[call-overload]
    registry.function(priority="urgent")  # type: ignore[call-overload]
