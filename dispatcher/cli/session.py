"""Runs a command's work with a started `Dispatcher`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from dispatcher.cli.server import ServerInUse, server_in_use
from dispatcher.client.dispatcher import Dispatcher
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings

if TYPE_CHECKING:
    from dispatcher.selection.selector import Selector

T = TypeVar("T")


def with_dispatcher(
    settings: Settings,
    work: Callable[[Dispatcher, ServerInUse], Awaitable[T]],
    *,
    registry: Registry | None = None,
    selector: "Selector | None" = None,
) -> T:
    """Find the server, start a dispatcher on it, and do the work in an event loop.

    Args:
        settings: where the server is.
        work: gets the dispatcher and the server.
        registry: None where the work only asks about jobs, and needs no functions.
        selector: None takes the dispatcher's own.

    Raises:
        DispatcherError: whatever the work raises, and that the server cannot be used.
    """

    async def run(server: ServerInUse) -> T:
        functions = registry if registry is not None else Registry()
        async with Dispatcher(functions, settings=server.settings, selector=selector) as dispatcher:
            return await work(dispatcher, server)

    with server_in_use(settings) as server:
        return asyncio.run(run(server))
