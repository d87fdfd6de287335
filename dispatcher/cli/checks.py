"""What `dispatcher doctor` looks at: each check says what it found, whether that is well, and what to do."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from dispatcher.selection.lint import Fault, Lookalike
from dispatcher.settings import PREFIX
from dispatcher.transport.connection import ServerAddress, ServerFacts
from dispatcher.transport.facts import EVICTION_ADVICE, evicts
from dispatcher.transport.nodes import NodeReport
from dispatcher.transport.replies import QueueState

#: Above these parts of `maxmemory`.
_MEMORY_WARN, _MEMORY_FAIL = 0.75, 0.95
#: A clock that differs by more spoils deadlines given as a moment, and what logs say.
_SKEW_WARN, _SKEW_FAIL = timedelta(seconds=1), timedelta(minutes=5)
#: A job that waits longer than this has too few workers before it.
_OLD: Final = timedelta(minutes=1)
#: Pairs of functions, and faults of single ones, that are listed.
_LISTED: Final = 10
#: How much alike a misspelt setting and the one that was meant are at least: LEASE and LEASE_SECONDS are.
_NEAR: Final = 0.5
#: Variables of the benchmarks.
_NO_SETTINGS: Final = f"{PREFIX}BENCH_"
_LOOPBACK: Final = ("localhost", "127.", "::1", "[::1]")


class Verdict(StrEnum):
    """How well something is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    found: str
    #: What to do; empty where all is well.
    advice: str = ""


def _ok(name: str, found: str) -> Check:
    return Check(name=name, verdict=Verdict.OK, found=found)


def _warn(name: str, found: str, advice: str) -> Check:
    return Check(name=name, verdict=Verdict.WARN, found=found, advice=advice)


def _fail(name: str, found: str, advice: str) -> Check:
    return Check(name=name, verdict=Verdict.FAIL, found=found, advice=advice)


def check_variables(names: Iterable[str], known: Collection[str]) -> Iterator[Check]:
    """Whether each variable that looks like a setting is one: a line for those that nobody reads.

    Args:
        names: of all environment variables.
        known: what there is to set.
    """
    for name in sorted(names):
        variable = name.upper()
        if not variable.startswith(PREFIX) or variable in known or variable.startswith(_NO_SETTINGS):
            continue
        bare = [one.removeprefix(PREFIX) for one in known]
        near = difflib.get_close_matches(variable.removeprefix(PREFIX), bare, n=1, cutoff=_NEAR)
        advice = f"did you mean {PREFIX}{near[0]}?" if near else "see docs/settings.md for what there is to set"
        yield _warn("settings", f"{name} is no setting, and is not read", advice)


def check_functions(count: int, lookalikes: Sequence[Lookalike], faults: Sequence[Fault]) -> Iterator[Check]:
    """Whether a text can find each of the functions and tell it from the others: a line for each that it cannot."""
    if count and not lookalikes and not faults:
        clear = "it says what it does" if count == 1 else f"no two of {count:,} look alike, and each says what it does"
        yield _ok("functions", clear)
    for pair in lookalikes[:_LISTED]:
        yield _warn("functions", f"“{pair.first}” and “{pair.second}” look alike: {pair.why}", pair.advice)
    for fault in faults[:_LISTED]:
        yield _warn("functions", f"“{fault.function}”: {fault.problem}", fault.advice)
    left = max(0, len(lookalikes) - _LISTED), max(0, len(faults) - _LISTED)
    if any(left):
        found = f"{left[0]:,} more pairs look alike, and {left[1]:,} more functions say too little of themselves"
        yield _warn("functions", found, "mend those above first")


def check_role(facts: ServerFacts) -> Check:
    """Whether it takes writes."""
    found = f"{facts.kind} {'.'.join(map(str, facts.version))} on {facts.address}, {facts.role}"
    if facts.role == "slave":
        return _fail("server", found, "it is a replica and takes no writes: point DISPATCHER_URL at its primary")
    if facts.cluster_enabled:
        advice = (
            "jobs, queues and results must live in one slot: choose a name other than `dispatcher`, and set "
            "both, as in DISPATCHER_NAMESPACE=prod and DISPATCHER_RESULT_PREFIX='{prod}:'"
        )
        return _warn("server", f"{found}, a cluster", advice)
    return _ok("server", found)


def check_persistence(facts: ServerFacts) -> Check:
    """What is left after it dies."""
    name = "persistence"
    if facts.aof_enabled is None:
        return _warn(name, "it does not say", "make sure that its append-only file is on")
    if not facts.aof_enabled:
        advice = "accepted calls are lost when it dies: set `appendonly yes` and `appendfsync everysec` there"
        return _warn(name, "the append-only file is off", advice)
    if facts.appendfsync == "no":
        advice = "what the system has not written yet is lost with the machine: set `appendfsync everysec` or `always`"
        return _warn(name, "append-only file on, appendfsync no", advice)
    return _ok(name, f"append-only file on, appendfsync {facts.appendfsync or 'not told'}")


def check_eviction(facts: ServerFacts) -> Check:
    """Whether it may throw jobs away."""
    policy = facts.maxmemory_policy
    if policy is None:
        return _warn("eviction", "it does not say", "make sure that `maxmemory-policy` is noeviction")
    if evicts(policy):
        return _fail("eviction", policy, EVICTION_ADVICE)
    return _ok("eviction", policy)


def check_memory(facts: ServerFacts) -> Check:
    """How much it can still hold."""
    used, most = facts.used_memory_bytes, facts.maxmemory_bytes
    shown = "?" if used is None else _size(used)
    if not most:
        return _ok("memory", f"{shown} used, no limit but the machine's")
    share = 0.0 if used is None else used / most
    found = f"{shown} of {_size(most)} used ({share:.0%})"
    if share < _MEMORY_WARN:
        return _ok("memory", found)
    advice = "raise `maxmemory`, or keep outcomes for a shorter time (DISPATCHER_RESULT_TTL_SECONDS)"
    return (_fail if share >= _MEMORY_FAIL else _warn)("memory", found, f"it refuses calls when it is full: {advice}")


def check_auth(url: str, facts: ServerFacts) -> Check:
    """Whether strangers are kept out."""
    address = ServerAddress.parse(url)
    local = address.socket_path is not None or address.host.startswith(_LOOPBACK)
    if facts.auth_required is None:
        return _warn("auth", "not known", "make sure that it asks for a password")
    if facts.auth_required:
        if local or address.tls:
            return _ok("auth", "it asks for a password")
        return _warn("auth", "it asks for a password, which crosses the network in the clear", "use rediss:// (TLS)")
    if local:
        return _ok("auth", "no password, on this machine only")
    advice = "whoever reaches it can run functions and read results: set a password or ACL users there"
    return _fail("auth", "no password", advice)


def check_clock(skew: timedelta) -> Check:
    """Whether this machine and the server agree what time it is."""
    amount = abs(skew)
    found = f"{amount / timedelta(milliseconds=1):.0f} ms {'ahead of' if skew > timedelta(0) else 'behind'} the server"
    if amount < _SKEW_WARN:
        return _ok("clock", found)
    advice = "jobs go by the server's clock; a deadline given as a moment is off by that much: keep both in step (NTP)"
    return (_fail if amount >= _SKEW_FAIL else _warn)("clock", found, advice)


def check_workers(
    nodes: Sequence[NodeReport], queues: Sequence[QueueState], fingerprint: str | None, elsewhere: str = ""
) -> Check:
    """Whether anybody runs calls, and the same functions that are registered here.

    Args:
        nodes: that are up.
        queues: in which jobs may wait.
        fingerprint: of the registry that is here; None where there is none.
        elsewhere: where else workers may have been started by mistake.
    """
    if not nodes:
        start = "start one: dispatcher worker, or everything: dispatcher up" + (f"; {elsewhere}" if elsewhere else "")
        waiting = sum(queue.waiting for queue in queues)
        if waiting:
            return _fail("workers", f"no node is up, and {waiting:,} jobs wait", start)
        return _warn("workers", "no node is up", start)
    slots = sum(node.concurrency for node in nodes)
    names = ", ".join(node.hostname for node in nodes[:5])
    found = f"{counted(len(nodes), 'node')}, {counted(slots, 'call')} at once: {names}"
    if fingerprint is not None:
        others = [node.hostname for node in nodes if node.fingerprint != fingerprint]
        if others:
            advice = "restart them with the code that is here; until then calls may be refused there"
            return _warn("workers", f"{found}; other functions than here on {', '.join(others[:5])}", advice)
    return _ok("workers", found)


def check_queues(queues: Sequence[QueueState], nodes: Sequence[NodeReport]) -> Check:
    """How long jobs wait, and whether anybody listens to their queue."""
    busy = [queue for queue in queues if queue.waiting]
    if not busy:
        return _ok("queues", "nothing waits")
    found = "; ".join(f"{q.name}: {q.waiting:,} waiting, the oldest for {_age(q.oldest)}" for q in busy)
    served = {name for node in nodes for name in node.queues}
    unserved = [queue.name for queue in busy if nodes and queue.name not in served]
    if unserved:
        return _fail("queues", found, f"no node listens to {', '.join(unserved)}: start one with --queues")
    if any(queue.oldest > _OLD for queue in busy):
        return _warn("queues", found, "add workers, or look at what they do: dispatcher flower")
    return _ok("queues", found)


def check_listeners(queues: Mapping[str, str], nodes: Sequence[NodeReport]) -> Iterator[Check]:
    """Whether calls of every function would be heard, while any node is up: a line where some would not.

    Args:
        queues: where calls go, each with the name of a function whose calls do.
        nodes: that are up.
    """
    heard = {name for node in nodes for name in node.queues}
    unheard = {queue: function for queue, function in queues.items() if nodes and queue not in heard}
    if unheard:
        found = ", ".join(f"{queue} (as of {function})" for queue, function in list(unheard.items())[:_LISTED])
        advice = f"calls would wait there: start a node with --queues {','.join(list(unheard)[:_LISTED])}"
        yield _warn("queues", f"no node listens to {found}", advice)


def check_dead(count: int) -> Check:
    """Jobs given up."""
    if not count:
        return _ok("dead letters", "none")
    return _warn("dead letters", f"{count:,}", "look at them: dispatcher dead list; then replay or discard them")


def counted(number: int, what: str) -> str:
    """A number of things, in words."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _size(bytes_: int) -> str:
    return f"{bytes_ / 1024**2:,.1f} MB"


def _age(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.0f} min"  # noqa: PLR2004
