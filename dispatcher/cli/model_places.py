"""Where the models are that `train` and `models` work on: on the server, or in a folder."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from dispatcher.selection.feedback import FeedbackLog
from dispatcher.selection.folder import FolderModelStore
from dispatcher.selection.stored import ModelStore
from dispatcher.settings import Settings
from dispatcher.transport.commands import Commands
from dispatcher.transport.connection import connect_async
from dispatcher.transport.feedback_log import RedisFeedbackLog
from dispatcher.transport.model_store import RedisModelStore
from dispatcher.transport.training_lock import TrainingLock


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPlace:
    """Models, and what stands beside them on a server."""

    #: As people read it.
    name: str
    store: ModelStore
    #: Only on a server.
    log: FeedbackLog | None = None
    lock: TrainingLock | None = None


def in_folder(path: Path, settings: Settings) -> ModelPlace:
    """The models of a folder, which may not be there yet."""
    store = FolderModelStore(path, kept=settings.kept_models, max_bytes=settings.max_model_bytes)
    return ModelPlace(name=str(path), store=store)


@asynccontextmanager
async def on_server(settings: Settings, url: str, address: str) -> AsyncIterator[ModelPlace]:
    """The models of a namespace.

    Args:
        settings: the namespace.
        url: of the server.
        address: the same without its password.
    """
    keys = Commands(settings).keys
    async with connect_async(url, role="trainer") as client:
        yield ModelPlace(
            name=address,
            store=RedisModelStore(client, keys, settings),
            log=RedisFeedbackLog(client, keys, settings),
            lock=TrainingLock(client, keys),
        )
