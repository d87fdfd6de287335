"""The selector as producers have it: with the model in use and what was said since, where there is any."""

import asyncio
from pathlib import Path
from typing import Final

from dispatcher.cli.loading import Loaded
from dispatcher.cli.model_places import ModelPlace, in_folder, on_server
from dispatcher.cli.server import ServerInUse, server_in_use
from dispatcher.client.learning import Learning
from dispatcher.errors import ModelError
from dispatcher.selection.feedback import MemoryFeedbackLog
from dispatcher.selection.selector import LearningSelector, Selector
from dispatcher.settings import Settings
from dispatcher.transport.embedded import has_data

_PRODUCER: Final = "cli"


def learnt_selector(
    loaded: Loaded, settings: Settings, *, folder: Path | None = None, untrained: bool = False
) -> Selector:
    """A deployment's selector, with what it has learnt.

    No embedded server is started where none has ever run: there is nothing to learn from. A model that cannot be used
    is passed over with a warning in the log, as producers do.

    Args:
        loaded: the registry, and its selector or its rules.
        settings: where the server is.
        folder: where models are, if not on the server.
        untrained: as the code alone makes it.

    Raises:
        ServerError: the server cannot be asked.
        ModelError: the folder that was named holds no model in use.
    """
    selector = loaded.make_selector(settings)
    if untrained or not isinstance(selector, LearningSelector):
        return selector
    if folder is not None:
        asyncio.run(_catch_up_in(folder, selector, loaded, settings))
    elif settings.url is not None or has_data(settings.state_dir):
        with server_in_use(settings) as server:
            asyncio.run(_catch_up_with(server, selector, loaded))
    return selector


async def _catch_up_in(folder: Path, selector: LearningSelector, loaded: Loaded, settings: Settings) -> None:
    place = in_folder(folder, settings)
    if await place.store.champion() is None:
        msg = f"no model is in use in {folder}; train one there (dispatcher train --folder {folder}), or leave it out"
        raise ModelError(msg)
    await _catch_up(selector, loaded, settings, place)


async def _catch_up_with(server: ServerInUse, selector: LearningSelector, loaded: Loaded) -> None:
    async with on_server(server.settings, server.url, server.address) as place:
        await _catch_up(selector, loaded, server.settings, place)


async def _catch_up(selector: LearningSelector, loaded: Loaded, settings: Settings, place: ModelPlace) -> None:
    learning = Learning(selector, registry=loaded.registry, producer=_PRODUCER, settings=settings)
    learning.connect(place.log or MemoryFeedbackLog(), place.store)
    await learning.catch_up()
