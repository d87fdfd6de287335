"""One trainer at a time in a namespace."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import redis.asyncio
from redis.exceptions import LockError

from dispatcher.transport.connection import server_errors
from dispatcher.transport.facts import address_of
from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.keys import Keys

logger = logging.getLogger(__name__)

#: A trainer that died is no longer waited for after so many seconds; one that lives says so three times in them.
HELD_SECONDS: Final = 60.0

#: Somebody else may have the lock by then, or the server is away.
_FAILURES: Final[tuple[type[Exception], ...]] = (*SERVER_FAILURES, LockError)


class TrainingLock:
    """Held by whoever trains. What it guards is the work, not the models: a model is saved whole in any case."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._address = address_of(client)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[bool]:
        """Take it for a while; gives whether it could be taken. Waits for nobody.

        Raises:
            ServerError: the server cannot be asked.
        """
        lock = self._client.lock(self._keys.trainer, timeout=HELD_SECONDS, blocking=False, thread_local=False)
        with server_errors(self._address):
            taken = await lock.acquire()
        if not taken:
            yield False
            return
        beating = asyncio.create_task(_keep(lock))
        try:
            yield True
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            try:
                await lock.release()
            except _FAILURES as error:
                logger.info("training_lock_not_released", extra={"reason": str(error)})


async def _keep(lock: "redis.asyncio.lock.Lock") -> None:
    while True:
        await asyncio.sleep(HELD_SECONDS / 3)
        try:
            await lock.reacquire()
        except _FAILURES as error:
            logger.info("training_lock_not_kept", extra={"reason": str(error)})
