"""Which worker nodes are alive."""

import asyncio

from dispatcher.cli.server import ServerInUse
from dispatcher.transport.app import create_app
from dispatcher.transport.connection import server_errors

#: Seconds within which a live node answers a ping; a node that runs calls answers too, its main process is free.
ANSWER_SECONDS = 1.0


def ping_nodes(server: ServerInUse, *, enough: int | None = None, seconds: float = ANSWER_SECONDS) -> list[str]:
    """The names of the nodes that answer.

    Args:
        server: whose broker they listen to.
        enough: do not wait any longer when as many have answered.
        seconds: how long to wait for answers.

    Raises:
        ServerError: the broker cannot be reached.
    """
    app = create_app(server.settings, server.url)
    try:
        with server_errors(server.url):
            answers = app.control.ping(timeout=seconds, limit=enough)
    finally:
        app.close()
    return sorted(name for answer in answers or [] for name in answer)


async def nodes_alive(server: ServerInUse) -> bool:
    """Whether any node answers."""
    return bool(await asyncio.to_thread(ping_nodes, server, enough=1))
