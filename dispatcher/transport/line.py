"""One connection that many callers of an event loop share: their commands travel one behind the other."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as SilentServer

from dispatcher.transport.wire import CLOSED_BY_SERVER, Wire, Words, pack, put_back

if TYPE_CHECKING:
    import redis.asyncio
    from redis.asyncio.connection import AbstractConnection

_PING: Final = pack(("PING",))


@dataclass(slots=True)
class _Exchange:
    """Commands that were sent together."""

    count: int
    sent_at: float
    answered: "asyncio.Future[list[Any]]"
    replies: list[Any] = field(default_factory=list)


class Line:
    """Connects at the first exchange, and again after the connection was lost. For one event loop.

    Closing the client closes it.

    Args:
        client: one connection of its pool is kept; how long an answer may take, and after which silence the connection
            is tried before it is used, are its options.
    """

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._pool = client.connection_pool
        self._connecting = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._wire: Wire | None = None
        self._under_way: deque[_Exchange] = deque()
        self._watch: asyncio.TimerHandle | None = None

    async def exchange(self, commands: Sequence[Words]) -> list[Any]:
        """Send commands together, and wait for their replies; a refusal of one is its own entry.

        Raises:
            redis.RedisError: there is no connection, it broke, or the server was silent for too long; whether any
                command ran is known only where `refused` knows it.
        """
        packed = b"".join(map(pack, commands))
        wire = self._wire
        if wire is not None and not self._under_way:
            await wire.settle()
        if wire is None or wire.closed or self._is_doubtful():
            wire = await self._ready()
        return await self._send(wire, packed, len(commands))

    async def _send(self, wire: Wire, packed: bytes, count: int) -> list[Any]:
        loop = asyncio.get_running_loop()
        await wire.send(packed)
        if wire.closed:
            raise LostConnection(CLOSED_BY_SERVER)
        exchange = _Exchange(count, loop.time(), loop.create_future())
        self._under_way.append(exchange)
        if self._watch is None:
            self._look()
        replies = await exchange.answered
        for reply in replies:
            if isinstance(reply, LostConnection):  # the server's own word for it, as while it loads its data
                raise reply
        return replies

    def _is_doubtful(self) -> bool:
        """Whether nothing was heard for so long that the other side may be gone."""
        if self._connection is None or self._wire is None or self._under_way:
            return False
        return 0 < self._connection.health_check_interval < asyncio.get_running_loop().time() - self._wire.heard_at

    async def _ready(self) -> Wire:
        async with self._connecting:
            wire = self._wire
            if wire is None or wire.closed:
                return await self._connect()
            if self._is_doubtful():
                await self._send(wire, _PING, 1)
            return wire

    async def _connect(self) -> Wire:
        if self._wire is not None:
            self._wire.abort(LostConnection(CLOSED_BY_SERVER))
        if self._connection is not None:
            lost, self._connection = self._connection, None
            await put_back(self._pool, lost)
        connection = await self._pool.get_connection()
        self._connection = connection
        wire = self._wire = Wire(connection, self._hear, self._lose)
        return wire

    def _hear(self, reply: Any) -> None:  # noqa: ANN401 - as hiredis gives it
        if not self._under_way:
            # Ends the connection: whose it is cannot be known.
            msg = "a reply to nothing that was asked"
            raise InvalidResponse(msg)
        exchange = self._under_way[0]
        exchange.replies.append(reply)
        if len(exchange.replies) == exchange.count:
            self._under_way.popleft()
            if not exchange.answered.done():
                exchange.answered.set_result(exchange.replies)

    def _lose(self, reason: RedisError) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        under_way, self._under_way = self._under_way, deque()
        for exchange in under_way:
            if not exchange.answered.done():
                # An error of one's own each: a traceback must not be shared between tasks.
                exchange.answered.set_exception(type(reason)(*reason.args))

    def _look(self) -> None:
        """End a connection that has said nothing for too long while something was asked of it.

        One timer for all that is under way. A long reply that is on its way is no silence.
        """
        self._watch = None
        patience = None if self._connection is None else self._connection.socket_timeout
        if not self._under_way or self._wire is None or patience is None:
            return
        loop = asyncio.get_running_loop()
        end = max(self._under_way[0].sent_at, self._wire.heard_at) + patience
        if loop.time() < end:
            self._watch = loop.call_at(end, self._look)
        else:
            self._wire.abort(SilentServer(f"Timeout reading: no answer within {patience:g} s"))
