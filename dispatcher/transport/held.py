"""Exchanges with the server from threads, on bare connections of a client's pool."""

import select
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis
from redis.connection import Connection
from redis.exceptions import RedisError, ResponseError

from dispatcher.transport.wire import Words, pack


class Held:
    """Sends packed commands and reads their replies, without what redis-py's own client adds to each command.

    Args:
        client: whose pool the connections are of. Closing it closes them all.
        keep: whether one connection is kept from one exchange to the next, instead of being given back: for a process
            that does little else. Taking and giving back cost half an exchange (`benchmarks.calls --only single`).
    """

    def __init__(self, client: redis.Redis, *, keep: bool) -> None:
        self._pool = client.connection_pool
        self._keep = keep
        #: At most one. A list, because taking from it and adding to it are atomic.
        self._kept: list[_Kept] = []
        #: What was kept last. To be made, it takes as long as it saves.
        self._last: _Kept | None = None

    def exchange(self, commands: Sequence[Words]) -> list[Any]:
        """Send commands together, and read their replies; a refusal of one is its own entry.

        Raises:
            redis.RedisError: there is no connection, it broke, or the server was silent for too long.
        """
        return self.receive(self.send(commands), len(commands))

    def send(self, commands: Sequence[Words]) -> Connection:
        """Send commands together, and do not wait: what is given is to be given to `receive`, or to `drop`.

        Raises:
            redis.RedisError: there is no connection, or it broke.
        """
        packed = b"".join(map(pack, commands))
        connection = self._take()
        try:
            connection.send_packed_command([packed])
        except BaseException:
            self.drop(connection)
            raise
        return connection

    def receive(self, connection: Connection, count: int) -> list[Any]:
        """Read the replies to so many commands that were sent; otherwise as `exchange`."""
        try:
            replies = [_read(connection) for _ in range(count)]
        except BaseException:
            self.drop(connection)
            raise
        if self._keep and not self._kept:
            self._kept.append(self._looked_at(connection))
        else:
            self._pool.release(connection)
        return replies

    def drop(self, connection: Connection) -> None:
        """Close it: what it would still say is nobody's."""
        connection.disconnect()
        self._pool.release(connection)

    def _take(self) -> Connection:
        if self._kept:
            with suppress(IndexError):  # another thread was quicker
                return self._ready(self._kept.pop())
        return self._pool.get_connection()

    def _ready(self, kept: "_Kept") -> Connection:
        if kept.is_silent():
            return kept.connection
        # Closed by the server, or it says what nobody asked.
        self.drop(kept.connection)
        return self._pool.get_connection()

    def _looked_at(self, connection: Connection) -> "_Kept":
        last = self._last
        if last is None or last.connection is not connection or last.socket is not connection._sock:  # noqa: SLF001 - redis-py does not show it
            last = self._last = _Kept(connection)
        return last


class _Kept:
    """A connection that is kept, and how to look whether something has come on it, in a third of redis-py's time."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.socket = connection._sock  # noqa: SLF001
        plain = isinstance(self.socket, socket.socket) and not isinstance(self.socket, ssl.SSLSocket)
        self._poll = select.poll() if plain and hasattr(select, "poll") else None
        if self._poll is not None and self.socket is not None:
            self._poll.register(self.socket, select.POLLIN)

    def is_silent(self) -> bool:
        """Whether it is as it was left: open, and nothing came."""
        if self._poll is not None and self.connection._sock is self.socket:  # noqa: SLF001
            return not self._poll.poll(0)
        with suppress(RedisError, OSError):
            return not self.connection.can_read()
        return False


def _read(connection: Connection) -> Any:  # noqa: ANN401 - as redis-py reads it
    try:
        return connection.read_response()
    except ResponseError as refusal:
        return refusal
