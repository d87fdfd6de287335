"""Dispatches one call and prints how it ended: what `call` and `ask` share."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import typer

from dispatcher.cli.command import FAILED
from dispatcher.cli.loading import Loaded
from dispatcher.cli.nodes import who_is_missing
from dispatcher.cli.output import Output, error_data
from dispatcher.cli.server import ServerInUse
from dispatcher.cli.session import with_dispatcher
from dispatcher.cli.shapes import Json, outcome_data
from dispatcher.client.dispatcher import Dispatcher
from dispatcher.client.handle import Handle
from dispatcher.errors import DispatcherError
from dispatcher.model.call import Call
from dispatcher.settings import Settings

#: Seconds of waiting after which somebody may wonder whether there is a worker at all.
WONDER_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """How the call is to be dispatched."""

    timeout: timedelta | None
    idempotency_key: str | None
    deadline: timedelta | None
    delay: timedelta | None
    wait: bool


def run_one(
    settings: Settings, loaded: Loaded, call: Call[object], asked: Asked, output: Output, *, also: Mapping[str, object]
) -> None:
    """Dispatch, wait if asked to, and print.

    Args:
        settings: where the server is.
        loaded: the registry that the call is of.
        call: what to run.
        asked: how.
        output: where to print.
        also: what to add to the JSON document.

    Raises:
        DispatcherError: the call was not accepted, or its outcome did not come in time.
        typer.Exit: it ended in no value.
    """

    async def work(dispatcher: Dispatcher, server: ServerInUse) -> tuple[Json, DispatcherError | None]:
        handle = await dispatcher.dispatch(
            call, idempotency_key=asked.idempotency_key, deadline=asked.deadline, delay=asked.delay
        )
        data: Json = {**also, "job_id": handle.id, "function": handle.function, "repeated": handle.repeated}
        if not asked.wait:
            return data, None
        error = await _wait(handle, asked, server, output)
        return {**data, "outcome": outcome_data(await handle.record())}, error

    data, error = with_dispatcher(settings, work, registry=loaded.registry, selector=loaded.make_selector(settings))
    if output.as_json:
        output.json({**data, **({"error": error_data(error)} if error is not None else {})})
    elif error is None:
        output.text(_shown(data["outcome"]["value"]) if asked.wait else data["job_id"])
    if error is not None:
        output.complain(str(error))
        raise typer.Exit(FAILED)


async def _wait(handle: Handle[object], asked: Asked, server: ServerInUse, output: Output) -> DispatcherError | None:
    """Wait for the outcome; what speaks against it being a value is returned, not raised."""
    result = asyncio.ensure_future(handle.result(asked.timeout))
    try:
        done, _ = await asyncio.wait({result}, timeout=WONDER_SECONDS + (asked.delay or timedelta(0)).total_seconds())
        if not done and (missing := await who_is_missing(server, (await handle.status()).queue)):
            output.note(f"job {handle.id} is accepted, and {missing}")
        await asyncio.wait({result})
    except asyncio.CancelledError:
        result.cancel()
        output.note(f"job {handle.id} goes on; see: dispatcher status {handle.id}")
        raise
    error = result.exception()
    if error is None:
        return None
    if isinstance(error, DispatcherError) and handle.done:
        return error
    raise error


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
