"""Exchanges with the server from threads, on bare connections of a client's pool."""

import select
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

import hiredis
import redis
from redis.connection import Connection, DefaultParser
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import InvalidResponse, RedisError, ResponseError
from redis.exceptions import TimeoutError as SilentServer

from dispatcher.transport.wire import CLOSED_BY_SERVER, Words, pack

_INCOMPLETE: Final = object()
#: Bytes that are read at once, at most.
_READ_BYTES: Final = 16 * 1024


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
        self._kept: list[Kept] = []
        #: What was kept last. To be made, it takes as long as it saves.
        self._last: Kept | None = None

    def exchange(self, commands: Sequence[Words]) -> list[Any]:
        """Send commands together, and read their replies; a refusal of one is its own entry.

        Raises:
            redis.RedisError: there is no connection, it broke, or the server was silent for too long.
        """
        return self.receive(self.send(commands), len(commands))

    def send(self, commands: Sequence[Words]) -> "Taken":
        """Send commands together, and do not wait: what is given is to be given to `receive`, or to `drop`.

        Raises:
            redis.RedisError: there is no connection, or it broke.
        """
        packed = b"".join(map(pack, commands))
        taken = self._take()
        try:
            taken.send_packed_command([packed])
        except BaseException:
            self.drop(taken)
            raise
        return taken

    def receive(self, taken: "Taken", count: int) -> list[Any]:
        """Read the replies to so many commands that were sent; otherwise as `exchange`."""
        try:
            replies = [_read(taken) for _ in range(count)]
        except BaseException:
            self.drop(taken)
            raise
        if self._keep and not self._kept:
            self._kept.append(taken if isinstance(taken, Kept) else self._looked_at(taken))
        else:
            self._pool.release(_connection_of(taken))
        return replies

    def drop(self, taken: "Taken") -> None:
        """Close it: what it would still say is nobody's."""
        connection = _connection_of(taken)
        connection.disconnect()
        self._pool.release(connection)

    def _take(self) -> "Taken":
        if self._kept:
            with suppress(IndexError):  # another thread was quicker
                kept = self._kept.pop()
                if kept.is_silent():
                    return kept
                # Closed by the server, or it says what nobody asked.
                self.drop(kept)
        return self._pool.get_connection()

    def _looked_at(self, connection: Connection) -> "Kept":
        last = self._last
        if last is None or last.connection is not connection or last.socket is not connection._sock:  # noqa: SLF001 - redis-py does not show it
            last = self._last = Kept(connection)
        return last


class Kept:
    """A connection that is kept: looked at, written to and read from in a third of redis-py's time."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.socket = connection._sock  # noqa: SLF001
        plain = isinstance(self.socket, socket.socket) and not isinstance(self.socket, ssl.SSLSocket)
        #: The same, where bytes go through it as they are.
        self.plain = self.socket if plain and hasattr(select, "poll") else None
        if self.plain is not None:
            self._poll = select.poll()
            self._poll.register(self.plain, select.POLLIN)
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=DefaultParser.parse_error, notEnoughData=_INCOMPLETE
        )
        self._heard_at = time.monotonic()

    def is_silent(self) -> bool:
        """Whether it is as it was left: open, and nothing came."""
        if self.plain is not None:
            same = self.connection._sock is self.plain  # noqa: SLF001 - whoever closes the client closes it
            return same and not self._poll.poll(0) and not self._reader.has_data()
        with suppress(RedisError, OSError):
            return not self.connection.can_read()
        return False

    def send_packed_command(self, packed: list[bytes]) -> None:
        """As redis-py's connection does."""
        plain, interval = self.plain, self.connection.health_check_interval
        if plain is None or 0 < interval < time.monotonic() - self._heard_at:
            self.connection.send_packed_command(packed)
            return
        try:
            for part in packed:
                plain.sendall(part)
        except OSError as error:
            raise _explained(error) from error

    def read_response(self) -> Any:  # noqa: ANN401 - as hiredis gives it
        """As redis-py's connection does; a refusal is given, and not raised."""
        plain, reader = self.plain, self._reader
        if plain is None:
            return self.connection.read_response()
        while (reply := reader.gets()) is _INCOMPLETE:
            try:
                heard = plain.recv(_READ_BYTES)
            except OSError as error:
                raise _explained(error) from error
            if not heard:
                raise LostConnection(CLOSED_BY_SERVER)
            reader.feed(heard)
        self._heard_at = time.monotonic()
        if isinstance(reply, LostConnection):  # the server's own word for it, as while it loads its data
            raise reply
        return reply


#: What a connection of redis-py's and one that is kept have in common.
Taken: TypeAlias = Connection | Kept


def _connection_of(taken: Taken) -> Connection:
    return taken.connection if isinstance(taken, Kept) else taken


def _explained(error: OSError) -> RedisError:
    """In redis-py's words."""
    return SilentServer(f"Timeout: {error}") if isinstance(error, TimeoutError) else LostConnection(str(error))


def _read(taken: Taken) -> Any:  # noqa: ANN401 - as redis-py reads it
    try:
        return taken.read_response()
    except ResponseError as refusal:
        return refusal
