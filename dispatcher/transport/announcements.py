"""The channel on which a producer hears of its jobs' outcomes."""

import logging
from dataclasses import dataclass

import redis.asyncio

from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.keys import Keys

logger = logging.getLogger(__name__)


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
        self._client = client
        self._channel = keys.announcements(producer)
        self._pubsub: redis.asyncio.client.PubSub | None = None

    async def subscribe(self) -> None:
        """Listen from now on; does nothing where the subscription stands.

        Raises:
            SERVER_FAILURES: there is none now.
        """
        if self._pubsub is None:
            pubsub = self._client.pubsub(ignore_subscribe_messages=True)
            await pubsub.subscribe(self._channel)
            self._pubsub = pubsub

    async def next(self) -> list[Announcement]:
        """Wait for announcements; none where something else was heard.

        Raises:
            SERVER_FAILURES: the subscription is gone; announcements may have been missed.
        """
        if self._pubsub is None:
            await self.subscribe()
            return []
        message = await self._pubsub.get_message(timeout=None)
        if message is None or message["type"] != "message":
            return []
        return read_announcements(message["data"])

    async def close(self) -> None:
        """End the subscription, also a broken one."""
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            try:
                await pubsub.aclose()
            except SERVER_FAILURES as error:
                logger.debug("close_failed", extra={"reason": str(error)})


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
