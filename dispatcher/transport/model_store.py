"""Trained models on the server: the bytes of each, what is said of them, and which one is in use."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

import redis.asyncio

from dispatcher.errors import ModelError
from dispatcher.selection.packed import check_version, no_model, pack, read_summary, unpack
from dispatcher.selection.stored import StoredModel
from dispatcher.settings import Settings
from dispatcher.transport.connection import server_errors
from dispatcher.transport.facts import address_of
from dispatcher.transport.keys import Keys
from dispatcher.transport.ledger import AsyncLedger
from dispatcher.transport.script import Command, text_of

logger = logging.getLogger(__name__)

#: How long a model may be on its way in: what a trainer that died leaves behind is gone by then.
DRAFT_SECONDS: Final = 600


class RedisModelStore:
    """The models of a namespace: `kept_models` of them, the champion always among them.

    A model is sent to a key that nobody reads, and one script makes it a kept one. So it is there whole or not at all,
    and the scripts stay short whatever its size.
    """

    def __init__(self, client: redis.asyncio.Redis, keys: Keys, settings: Settings) -> None:
        self._client = client
        self._ledger = AsyncLedger(client)
        self._keys = keys
        self._settings = settings
        self._address = address_of(client)

    async def save(self, model: StoredModel, *, promote: bool) -> None:
        """Keep a model; with `promote` it becomes the champion in the same step.

        Raises:
            ModelError: it is too large, or cannot be stored.
            ServerError: it may have been kept; saving it again does no harm.
        """
        settings = self._settings
        packed = await asyncio.to_thread(pack, model, settings.max_model_bytes)
        draft = self._keys.model_draft(uuid4().hex)
        args = (packed.version, packed.summary, int(promote), settings.kept_models)
        with server_errors(self._address):
            await self._client.set(draft, packed.data, ex=DRAFT_SECONDS)
            kept = await self._ledger.run(Command("keep_model", (self._keys.prefix, draft), args, int))
        if not kept:
            msg = f"model {packed.version} was lost on its way into the store; save it again"
            raise ModelError(msg)

    async def load(self, version: str) -> StoredModel:
        """A model by its version.

        Raises:
            ModelError: there is none of that version, or it cannot be read.
            ServerError: the server cannot be asked.
        """
        check_version(version)
        most = self._settings.max_model_bytes
        with server_errors(self._address):
            # One byte more than a model may take: of a larger one no more is read.
            data: Any = await self._client.getrange(self._keys.model(version), 0, most)
        if not data:
            raise no_model(version)
        return await asyncio.to_thread(unpack, version, data, most)

    async def champion(self) -> str | None:
        """The version that producers use; None before the first.

        Raises:
            ModelError: what is named is no version.
            ServerError: the server cannot be asked.
        """
        with server_errors(self._address):
            version = await self._client.get(self._keys.champion)
        return None if version is None else check_version(text_of(version))

    async def promote(self, version: str) -> None:
        """Make a kept model the champion.

        Raises:
            ModelError: there is none of that version.
            ServerError: it may have become the champion.
        """
        check_version(version)
        with server_errors(self._address):
            found = await self._ledger.run(Command("promote_model", (self._keys.prefix,), (version,), int))
        if not found:
            raise no_model(version)

    async def versions(self) -> Sequence[Mapping[str, Any]]:
        """What is kept, the newest first: `version`, `created_at` (aware), `metrics`, `champion` (whether it is)."""
        with server_errors(self._address):
            pipe = self._client.pipeline(transaction=True)
            pipe.hgetall(self._keys.models)
            pipe.get(self._keys.champion)
            summaries, champion = await pipe.execute()
        current = None if champion is None else text_of(champion)
        rows = []
        for version, summary in ((text_of(name), summary) for name, summary in summaries.items()):
            try:
                rows.append(read_summary(summary, version, champion=current))
            except ModelError as error:  # one that somebody spoilt does not hide the others
                logger.warning("model_not_listed", extra={"version": version, "reason": str(error)})
        return sorted(rows, key=lambda row: str(row["version"]), reverse=True)
