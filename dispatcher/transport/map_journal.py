"""Where the jobs of a `map` with a key began, and how many rows each held, so that a later run cuts its input alike."""

import redis.asyncio

from dispatcher.transport.connection import server_errors

#: Entries in one round trip: a map of slow calls may have had a million jobs, and others wait while the server reads.
AT_ONCE = 1_000


class MapJournal:
    """Of one map.

    Args:
        client: of the ledger's server.
        name: of its key on the server.
        keep_seconds: how long it is kept after its last job.
        address: of the server, for errors.
    """

    def __init__(self, client: redis.asyncio.Redis, name: str, *, keep_seconds: int, address: str) -> None:
        self._client = client
        self._name = name
        self._keep_ms = keep_seconds * 1000
        self._address = address

    async def read(self) -> dict[int, int]:
        """Rows by the position of the first.

        Raises:
            ServerError: it cannot be asked.
        """
        with server_errors(self._address):
            entries = self._client.hscan_iter(self._name, count=AT_ONCE)
            return {int(first): int(rows) async for first, rows in entries}

    async def note(self, first: int, rows: int) -> None:
        """A job of so many rows is about to be accepted.

        Raises:
            ServerError: it may not have been noted.
        """
        with server_errors(self._address):
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.hset(self._name, str(first), str(rows))
                pipe.pexpire(self._name, self._keep_ms)
                await pipe.execute()
