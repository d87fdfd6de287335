"""Results that may be used again: read by producers before they dispatch, written by the settlement itself.

The key holds the function's name and the digest over name, version and canonical arguments, so that a new version of a
function begins with an empty cache.
"""

import logging

import redis.asyncio

from dispatcher.model.call import Call
from dispatcher.model.job import JobState
from dispatcher.transport import outcomes
from dispatcher.transport.keys import Keys

logger = logging.getLogger(__name__)


class ResultCache:
    """The producer's side of the cache."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def find(self, call: Call[object]) -> outcomes.JobRecord | None:
        """The outcome of an equal call, made by no attempt; None where none is kept.

        Raises:
            SERVER_FAILURES: it cannot be asked.
        """
        value = await self._client.get(self._keys.cached(call.function, call.digest))
        if value is None:
            return None
        text = value.decode() if isinstance(value, bytes) else str(value)
        return outcomes.JobRecord(attempts=0, calls=(outcomes.CallRecord(state=JobState.SUCCEEDED, value=text),))
