"""The channel on which a producer hears of its jobs' outcomes."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import redis.asyncio
from redis.exceptions import RedisError

from dispatcher.transport.connection import ANSWER_TIMEOUT_SECONDS
from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.keys import Keys
from dispatcher.transport.wire import Wire, pack, put_back

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio.connection import AbstractConnection

logger = logging.getLogger(__name__)

#: Bytes of announcements that may wait here; the server keeps further ones until these are fewer.
HEARD_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Announcement:
    """A job has its outcome."""

    job_id: str
    #: The outcome in Celery's result format; empty when it is too large to announce and is to be read from the store.
    meta: bytes


class Announcements:
    """One producer's subscription.

    Args:
        client: without a socket timeout; the subscription keeps one of its connections.
        keys: names.
        producer: this producer's id.
    """

    def __init__(self, client: redis.asyncio.Redis, keys: Keys, producer: str) -> None:
        #: Told of an announcement as it is heard, where it comes alone: `next` does not give it.
        self.on_single: Callable[[Announcement], None] | None = None
        self._told_at = 0.0
        self._pool = client.connection_pool
        self._channel = keys.announcements(producer)
        self._connection: AbstractConnection | None = None
        self._wire: Wire | None = None
        self._heard: deque[bytes] = deque()
        self._size = 0
        self._hushed = False
        self._lost: RedisError | None = None
        #: What subscribing, and then `next`, waits for.
        self._news: asyncio.Future[None] | None = None

    async def subscribe(self) -> None:
        """Listen from now on; does nothing where the subscription stands.

        Raises:
            SERVER_FAILURES: there is none now.
        """
        if self._wire is not None:
            return
        await self.close()
        connection = self._connection = await self._pool.get_connection()
        wire = Wire(connection, self._hear, self._lose)
        news = self._news = asyncio.get_running_loop().create_future()
        await wire.send(pack(("SUBSCRIBE", self._channel)))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                await news
        except TimeoutError:
            msg = "Timeout reading: the subscription was not confirmed"
            raise redis.TimeoutError(msg) from None
        finally:
            self._news = None
        self._wire = wire

    async def next(self) -> list[Announcement]:
        """Wait for announcements; none where something else was heard.

        Raises:
            SERVER_FAILURES: the subscription is gone; announcements may have been missed.
        """
        if self._wire is None:
            await self.subscribe()
            return []
        if not self._heard:
            if self._lost is not None:
                raise self._lost
            self._news = asyncio.get_running_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None
        if not self._heard:
            return []
        said = self._heard.popleft()
        self._size -= len(said)
        if self._hushed and self._size <= HEARD_BYTES:
            self._hushed = False
            self._wire.listen()
        return read_announcements(said)

    async def close(self) -> None:
        """End the subscription, also a broken one."""
        connection, self._connection, self._wire, self._lost = self._connection, None, None, None
        self._heard.clear()
        self._size, self._hushed = 0, False
        if connection is not None:
            try:
                await put_back(self._pool, connection)
            except SERVER_FAILURES as error:
                logger.debug("close_failed", extra={"reason": str(error)})

    def _hear(self, reply: Any) -> None:  # noqa: ANN401 - as hiredis gives it
        if isinstance(reply, RedisError):
            self._tell(reply)
            return
        kind, _, said = reply
        if kind == b"message":
            if self.on_single is not None and self._wire is not None and self._is_single(said, self._wire.heard_at):
                self._told_at = self._wire.heard_at
                self.on_single(*read_announcements(said))
                return
            self._heard.append(said)
            self._size += len(said)
            if self._size > HEARD_BYTES and not self._hushed and self._wire is not None:
                self._hushed = True
                self._wire.hush()
        self._tell()

    def _is_single(self, said: bytes, now: float) -> bool:
        """Whether it is of one outcome, none waits before it, and none was told of in this turn of the event loop."""
        return not self._heard and self._told_at != now and not said.startswith(b"\n")

    def _lose(self, reason: RedisError) -> None:
        self._lost = reason
        self._tell(reason)

    def _tell(self, error: RedisError | None = None) -> None:
        news = self._news
        if news is None or news.done():
            return
        if error is None:
            news.set_result(None)
        else:
            news.set_exception(error)


def read_announcements(data: bytes) -> list[Announcement]:
    """Read a message: one outcome as its id and meta, several as id, length and meta each, after an empty line."""
    if not data.startswith(b"\n"):
        job_id, _, meta = data.partition(b"\n")
        return [Announcement(job_id.decode("utf-8", "replace"), meta)]
    found, at = list[Announcement](), 1
    while at < len(data):
        end = data.find(b"\n", at)
        job_id, _, length = data[at:end].partition(b" ")
        if end < 0 or not length.isdigit():
            break  # not ours; what it would have said is read from the store
        at = end + 1 + int(length)
        found.append(Announcement(job_id.decode("utf-8", "replace"), data[end + 1 : at]))
    return found
