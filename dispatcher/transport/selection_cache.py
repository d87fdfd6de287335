"""Selections that may be used again by every producer of a namespace."""

import asyncio
import hashlib
import logging
from typing import Any, Final

import redis.asyncio

from dispatcher.settings import Settings
from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.keys import Keys

logger = logging.getLogger(__name__)

#: A longer value is not kept. A selection of ten candidates with their reasons takes about 2 KB.
MAX_VALUE_BYTES: Final = 16 * 1024
#: How long the server may take: selecting anew takes a few milliseconds, so a server that is silent is not waited for.
PATIENCE_SECONDS: Final = 0.25

#: A value comes back as it went, half a character (a lone surrogate) of somebody's text included.
_SURROGATES: Final = "surrogatepass"


class SharedSelectionCache:
    """Values by the digest of their key. It never fails: a server that is away, slow or full makes a miss."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys, settings: Settings) -> None:
        self._client = client
        self._keys = keys
        self._ttl_seconds = settings.selection_cache_ttl_seconds

    async def find(self, key: bytes) -> str | None:
        """The value that was kept under an equal key."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                # One byte more than a value of ours takes: of a longer one no more is read.
                value: Any = await self._client.getrange(self._name(key), 0, MAX_VALUE_BYTES)
        except SERVER_FAILURES as error:
            _log("selection_cache_not_read", error)
            return None
        if not value or len(value) > MAX_VALUE_BYTES:
            return None
        try:
            return bytes(value).decode("utf-8", _SURROGATES)
        except UnicodeDecodeError as error:
            _log("selection_cache_not_read", error)
            return None

    async def keep(self, key: bytes, value: str) -> None:
        """Keep a value for `selection_cache_ttl_seconds`, unless it is longer than `MAX_VALUE_BYTES`."""
        data = value.encode("utf-8", _SURROGATES)
        if len(data) > MAX_VALUE_BYTES:
            logger.info("selection_not_cached", extra={"reason": f"it takes {len(data):,} bytes"})
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._client.set(self._name(key), data, ex=self._ttl_seconds)
        except SERVER_FAILURES as error:
            _log("selection_not_cached", error)

    def _name(self, key: bytes) -> str:
        return self._keys.selection(hashlib.sha256(key).hexdigest()[:40])


def _log(event: str, error: Exception) -> None:
    logger.info(event, extra={"reason": str(error) or type(error).__name__})
