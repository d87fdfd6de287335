"""What went wrong with the server, said in our own errors: which server, what happened, what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import kombu.exceptions
import redis.exceptions as redis_errors

from dispatcher.errors import (
    Acceptance,
    ServerAuthError,
    ServerError,
    ServerFullError,
    ServerUnreachableError,
    ServerUnusableError,
)
from dispatcher.transport.address import redact

#: What redis-py, kombu and the operating system raise when the server is away or refuses.
SERVER_FAILURES: tuple[type[Exception], ...] = (redis_errors.RedisError, kombu.exceptions.KombuError, OSError)

#: Longest piece of a driver's own message that we repeat.
_MAX_REASON_CHARACTERS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class _Refusal:
    """An answer of the server by which it did not do what it was asked to."""

    #: Matched against the exception's class name and text, as `ReadOnlyError: You can't write …`. Both, because
    #: redis-py knows some error codes by class and leaves others in the text; inside a script, before Redis 7, the
    #: code stands in the middle of the text.
    pattern: re.Pattern[str]
    error: type[ServerError]
    problem: str


def _refusal(pattern: str, error: type[ServerError], problem: str) -> _Refusal:
    return _Refusal(pattern=re.compile(pattern), error=error, problem=problem)


_REFUSALS = (
    _refusal(
        r"\bDENIED\b.*protected mode",
        ServerAuthError,
        "the server only takes local connections (protected mode); set a password on it and put it into DISPATCHER_URL",
    ),
    _refusal(
        r"^NoPermissionError|\bNOPERM\b|has no permissions to|executing the script can't",
        ServerAuthError,
        "our user may not do what Dispatcher needs; give it `~* &* +@all` less `@admin @dangerous`, plus `+info`",
    ),
    _refusal(
        r"^Authentication|^AuthorizationError|\bNOAUTH\b|\bWRONGPASS\b|called without any password configured",
        ServerAuthError,
        "the server refuses our user name or password; check those in DISPATCHER_URL "
        "(percent-encoded, as in redis://user:p%40ss@host:6379/0)",
    ),
    _refusal(
        r"^OutOfMemoryError|\bOOM\b",
        ServerFullError,
        "the server is out of memory and takes nothing new; wait until workers have emptied it and kept outcomes "
        "expire, or raise its `maxmemory`",
    ),
    _refusal(
        r"^ReadOnlyError|\bREADONLY\b",
        ServerUnusableError,
        "the server is a read-only replica; point DISPATCHER_URL at the primary",
    ),
    _refusal(
        r"^BusyLoadingError|\bLOADING\b",
        ServerUnusableError,
        "the server is still loading its data from disk; try again in a moment",
    ),
    _refusal(
        r"\bMISCONF\b",
        ServerUnusableError,
        "the server cannot save its data and therefore refuses to write; look at its log, most often the disk is full",
    ),
    _refusal(
        r"\bNOREPLICAS\b",
        ServerUnusableError,
        "the server has fewer replicas than its `min-replicas-to-write` asks for; bring them back or lower it",
    ),
    _refusal(
        r"\bBUSY\b.*script",
        ServerUnusableError,
        "the server is busy with a long script of somebody; try again, or end it there with SCRIPT KILL",
    ),
    _refusal(
        r"max number of clients",
        ServerUnusableError,
        "the server has no connection left; raise its `maxclients`, or run fewer processes",
    ),
    _refusal(
        r"^(MovedError|AskError|ClusterCrossSlotError|ClusterDownError|MasterDownError|TryAgainError)",
        ServerUnusableError,
        "the server is a cluster or replica that cannot serve our keys now; "
        "point DISPATCHER_URL at the primary that holds them",
    ),
    _refusal(
        r"unknown (sub)?command|wrong number of arguments for '[a-z|]+' command",
        ServerUnusableError,
        "the server does not know a command that Dispatcher needs; it must be Redis ≥ 6.2 or Valkey, "
        "with no command renamed away",
    ),
)

#: redis-py's words for a connection that was never made (8.1 and 6.4 alike), so nothing was sent over it.
_NEVER_CONNECTED = re.compile(
    r"^(Error\b.*\bconnecting to\b|Timeout connecting to|No connection available|Too many conn)", re.DOTALL
)
_POOL_EMPTY = re.compile(r"^(No connection available|Too many connections)")


def translate(error: BaseException, address: str, *, accepted: Acceptance) -> ServerError | None:
    """Say in our own errors what redis-py, kombu or the operating system raised; None if it is not the server's doing.

    Args:
        error: what was raised. An error of our own tree is nobody's to translate: None.
        address: names the server; a URL is redacted.
        accepted: put into the error as it is. `refused` says whether the error itself proves that it is `NO`.
    """
    shown = redact(address) if "://" in address else address
    refusal = _find_refusal(error)
    if refusal is not None:
        return refusal.error(shown, refusal.problem, accepted=accepted)
    if isinstance(error, kombu.exceptions.OperationalError) and error.__cause__ is not None:
        return translate(error.__cause__, shown, accepted=accepted)
    if _POOL_EMPTY.match(str(error)) and isinstance(error, redis_errors.ConnectionError):
        problem = "all connections that this process may have are in use; it asks for too much at once"
        return ServerUnreachableError(shown, problem, accepted=accepted)
    if isinstance(error, redis_errors.TimeoutError | TimeoutError):
        problem = _unreachable("the server did not answer in time", error, shown)
        return ServerUnreachableError(shown, problem, accepted=accepted)
    if isinstance(error, redis_errors.ConnectionError | OSError | kombu.exceptions.OperationalError):
        return ServerUnreachableError(shown, _unreachable("cannot reach the server", error, shown), accepted=accepted)
    return None


def refused(error: BaseException) -> bool:
    """Whether the error proves that the one command or script it was raised for was not run.

    True for every refusal of the server and for a connection that was never made; False for a connection that broke or
    was silent after sending. A caller that tried before, and got False then, still does not know about that try.
    """
    if isinstance(error, kombu.exceptions.OperationalError) and error.__cause__ is not None:
        return refused(error.__cause__)
    if _find_refusal(error) is not None or isinstance(error, ConnectionRefusedError):
        return True
    return isinstance(error, redis_errors.RedisError) and _NEVER_CONNECTED.match(str(error)) is not None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the server refuses because it is full."""
    refusal = _find_refusal(error)
    return refusal is not None and refusal.error is ServerFullError


@contextmanager
def server_errors(address: str, *, accepted: Acceptance = Acceptance.NO) -> Iterator[None]:
    """Raise what `translate` makes of an error, `from` that error. Fits around sync code and around awaits alike.

    Put as little inside as possible: an `OSError` of anything else in the block would be taken for the server's.

    Args:
        address: names the server; a URL is redacted.
        accepted: what is known if the connection breaks. `UNKNOWN` becomes `NO` where the error proves that the
            command was not run, so put one exchange into a block, not a loop of tries.
    """
    try:
        yield
    except SERVER_FAILURES as error:
        known = Acceptance.NO if accepted is Acceptance.UNKNOWN and refused(error) else accepted
        ours = translate(error, address, accepted=known)
        if ours is None:
            raise
        raise ours from error


def _find_refusal(error: BaseException) -> _Refusal | None:
    if not isinstance(error, redis_errors.RedisError):
        return None
    # An unknown command's message repeats its arguments, which may be somebody's data: only the head is looked at.
    text = f"{type(error).__name__}: {error}".partition("with args beginning")[0]
    return next((refusal for refusal in _REFUSALS if refusal.pattern.search(text)), None)


def _unreachable(what: str, error: BaseException, address: str) -> str:
    reason = " ".join(str(error).split())[:_MAX_REASON_CHARACTERS].rstrip(".")
    said = f"{what} ({reason})" if reason else what
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return f"{said}; name the authority behind its certificate: ?ssl_ca_certs=/path/ca.pem in DISPATCHER_URL"
    # A server without TLS waits for the rest of what it takes for a command.
    tls = " does it speak TLS (else write redis://)," if address.startswith("rediss:") else ""
    return f"{said}; is it running,{tls} and is DISPATCHER_URL right?"
