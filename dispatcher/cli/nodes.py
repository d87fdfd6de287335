"""Which worker nodes are alive."""

import asyncio

from dispatcher.cli.server import ServerInUse
from dispatcher.transport.app import create_app
from dispatcher.transport.commands import Commands
from dispatcher.transport.connection import connect, server_errors
from dispatcher.transport.nodes import read_nodes

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


async def who_is_missing(server: ServerInUse, queue: str) -> str:
    """What keeps a job of a queue from being run, and what to do; empty where a node listens."""
    if not await nodes_alive(server):
        return "no worker is up; start one in another terminal: dispatcher worker"
    listened = await asyncio.to_thread(_queues_listened_to, server)
    # A node says what it listens to when it is ready: one that has just been started may not have yet.
    if listened and queue not in listened:
        return f"no worker listens to its queue {queue}; start one: dispatcher worker --queues {queue}"
    return ""


def _queues_listened_to(server: ServerInUse) -> set[str]:
    keys = Commands(server.settings).keys
    with server_errors(server.url), connect(server.url, role="cli") as client:
        return {queue for node in read_nodes(client, keys) for queue in node.queues}
