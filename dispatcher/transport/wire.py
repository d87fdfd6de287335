"""A connection to the server whose bytes go straight between the event loop and hiredis.

redis-py makes the connection, with all its options, and closes it. Between, its own way (pool, retries, a stream, a
task and two timeouts for each command, packing in Python) cost a producer more than all else that a call costs it:
`benchmarks.calls --only single`.
"""

import asyncio
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import hiredis
from redis.connection import DefaultParser
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import InvalidResponse, RedisError

if TYPE_CHECKING:
    import redis.asyncio
    from redis.asyncio.connection import AbstractConnection

#: A command's words.
Words: TypeAlias = tuple[str | int | bytes, ...]

CLOSED_BY_SERVER: Final = "Connection closed by server."
_INCOMPLETE: Final = object()


def pack(words: Words) -> bytes:
    """A command as it travels.

    Raises:
        UnicodeEncodeError: a word holds a lone surrogate.
    """
    return cast("bytes", hiredis.pack_command(words))  # type: ignore[arg-type]  # typed as if there were but one word


class Wire(asyncio.Protocol):
    """Takes the bytes of a connection over, from its handshake to its end. For its event loop's thread only.

    Args:
        connection: connected, and nothing asked that is not answered.
        on_reply: called with each reply; a refusal is an exception, and is not raised.
        on_lost: called once, when the connection has ended, with the reason.
    """

    def __init__(
        self, connection: "AbstractConnection", on_reply: Callable[[Any], None], on_lost: Callable[[RedisError], None]
    ) -> None:
        writer = connection._writer  # noqa: SLF001 - redis-py does not show its transport
        if writer is None or writer.transport.is_closing():
            raise LostConnection(CLOSED_BY_SERVER)
        self._ended = False
        self._now = asyncio.get_running_loop().time
        #: When the server last said something, on the event loop's clock.
        self.heard_at = self._now()
        self._on_reply = on_reply
        self._on_lost = on_lost
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=DefaultParser.parse_error, notEnoughData=_INCOMPLETE
        )
        self._room: asyncio.Future[None] | None = None
        self._transport = writer.transport
        #: redis-py's, which waits for the end of the connection when it closes it.
        self._before = self._transport.get_protocol()
        self._transport.set_protocol(self)
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll is not None:
            self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)

    @property
    def closed(self) -> bool:
        """Whether it has ended, or is about to."""
        return self._ended or self._transport.is_closing()

    async def settle(self) -> None:
        """Let the event loop hear what the server has said unasked: most often, that it has closed the connection."""
        if self._poll is not None and not self.closed and self._poll.poll(0):
            for _ in range(2):  # it has heard in the first turn, and acted on it in the second
                await asyncio.sleep(0)

    async def send(self, packed: bytes) -> None:
        """Put packed commands behind those that were sent before; waits only while the server does not take them."""
        while self._room is not None:
            await asyncio.shield(self._room)
        if not self.closed:
            self._transport.write(packed)

    def hush(self) -> None:
        """Let the server wait with what else it has to say, until `listen`."""
        if not self.closed:
            self._transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads and writes

    def listen(self) -> None:
        """Hear the server again."""
        if not self.closed:
            self._transport.resume_reading()  # type: ignore[attr-defined]

    def abort(self, reason: RedisError) -> None:
        """End the connection now: what is under way gets no answer."""
        self._end(reason)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """The server said something."""
        self.heard_at = self._now()
        try:
            self._reader.feed(data)
            while not self._ended and (reply := self._reader.gets()) is not _INCOMPLETE:
                self._on_reply(reply)
        except InvalidResponse as error:
            self.abort(error)

    def eof_received(self) -> None:
        """The server has closed the connection."""
        self._end(LostConnection(CLOSED_BY_SERVER))

    def connection_lost(self, error: Exception | None) -> None:
        """The connection has ended, whoever ended it."""
        self._before.connection_lost(error)
        self._end(LostConnection(f"{CLOSED_BY_SERVER} {error or ''}".rstrip()))

    def pause_writing(self) -> None:
        """The server does not take what was sent."""
        self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """It does again."""
        room, self._room = self._room, None
        if room is not None:
            room.set_result(None)

    def _end(self, reason: RedisError) -> None:
        if not self._ended:
            self._ended = True
            self.resume_writing()
            self._on_lost(reason)


async def put_back(pool: "redis.asyncio.ConnectionPool", connection: "AbstractConnection") -> None:
    """Close a connection, and let its pool have it."""
    await connection.disconnect(nowait=True)
    await pool.release(connection)
