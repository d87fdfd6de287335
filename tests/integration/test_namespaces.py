"""Two deployments on one server do not hear of each other."""

import asyncio

from dispatcher import Dispatcher, Registry, Settings
from dispatcher.testing import embedded_worker
from dispatcher.testing.embedded import QUICK_SETTINGS
from dispatcher.transport.embedded import EmbeddedServer

#: So long that a wake-up which went astray is not published again while a test waits.
PATIENT = {**QUICK_SETTINGS, "republish_grace_seconds": 60}


def registry_saying(word: str) -> Registry:
    registry = Registry()

    @registry.function
    def whose() -> str:
        """Say whose worker runs it."""
        return word

    return registry


async def test_a_worker_takes_no_wake_ups_of_another_namespace(server: EmbeddedServer, namespace: str) -> None:
    registries = {word: registry_saying(word) for word in ("one", "two")}
    settings = {word: Settings(url=server.url, namespace=f"{namespace}-{word}", **PATIENT) for word in registries}
    with embedded_worker(registries["one"], settings["one"]), embedded_worker(registries["two"], settings["two"]):
        for word, registry in registries.items():
            async with Dispatcher(registry, settings=settings[word]) as dispatcher:
                calls = [registry.bind("whose", {}) for _ in range(40)]
                async with asyncio.timeout(30):
                    outcomes = await dispatcher.gather(*calls)
                assert {outcome.value for outcome in outcomes} == {word}  # type: ignore[union-attr]
