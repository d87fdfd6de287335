"""Every error Dispatcher raises, in one tree.

DispatcherError                     .accepted says whether the call was accepted: no, yes or unknown
├── SettingsError                   a setting is wrong, or what it points at cannot be loaded
├── RegistrationError               a function cannot be registered as written
├── ModelError                      a selector's model is missing, cannot be read, or is not the one it claims to be
├── FeedbackRefusedError            a source said more of selections within a minute than it may
├── NoSelectionError                feedback on a call or a selection that selected no function
├── CallRefusedError                the request was not accepted; nothing was queued
│   ├── UnknownFunctionError        no function of that name is registered
│   ├── InvalidArgumentsError       the arguments do not fit the function
│   ├── ArgumentLimitError          the arguments are too large, too deep, or hold what JSON cannot carry
│   ├── InvalidToolCallError        a tool call is not of the format it claims
│   ├── NoFunctionSelectedError     the selector abstained, and the caller asked for a call all the same
│   ├── IdempotencyConflictError    the key was used before, with other arguments
│   └── BacklogFullError            the queue holds as many waiting jobs as it may
├── ServerError                     the Redis/Valkey server, always named by its address
│   ├── NoServerError               none is configured, and none could be started
│   ├── ServerUnreachableError      no answer: not started, gone away, or a network between
│   ├── ServerAuthError             the server refuses our name or password
│   ├── ServerFullError             the server is out of memory (maxmemory, noeviction)
│   └── ServerUnusableError         too old, or set up so that jobs could be lost
├── UnknownJobError                 the ledger holds no job of that id (never accepted, or long forgotten)
├── OutcomeTimeoutError             the outcome did not come within the time asked for; the job goes on
├── CallNotSucceededError           raised by `Handle.result()`; the outcome is in `.outcome`
│   ├── CallFailedError
│   ├── CallCancelledError
│   └── CallExpiredError
└── ResultError                     a function's result cannot be sent, or cannot be read as the declared type

FunctionSignal                      raised *by* a function, to say what should become of its call
├── RetryLater                      not now: try again after so long
├── GiveUp                          never: do not try again
└── Interrupted                     raised *into* a function that must stop
    ├── CallCancelled               ... because the producer cancelled it
    ├── CallTimedOut                ... because its attempt ran longer than its timeout, or past its deadline
    └── LeaseLost                   ... because its job belongs to another attempt by now
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from math import ceil
from typing import TYPE_CHECKING, ClassVar

from dispatcher.model.duration import check_duration

if TYPE_CHECKING:
    from dispatcher.model.outcome import Cancelled, Expired, Failed


class Acceptance(StrEnum):
    """Whether the ledger holds the call. From acceptance on, a job ends in an outcome whatever dies next."""

    NO = "no"
    YES = "yes"
    #: The connection broke before the answer came. Dispatch again with the same idempotency key to find out safely.
    UNKNOWN = "unknown"


class DispatcherError(Exception):
    """The root. `accepted` says whether the call was accepted when the error was raised."""

    accepted: Acceptance = Acceptance.NO
    #: A short stable name for logs, metrics and tool results.
    code: ClassVar[str] = "dispatcher_error"


class SettingsError(DispatcherError):
    """A setting is wrong, or what it points at cannot be loaded."""

    code = "settings"


class RegistrationError(DispatcherError):
    """A function cannot be registered as written: its signature, its types, its name or its options."""

    code = "registration"


class ModelError(DispatcherError):
    """A selector's model or encoder is missing, cannot be read, or is not the one it claims to be."""

    code = "model"


class FeedbackRefusedError(DispatcherError):
    """A source gave as much feedback within a minute as it may. This one was not logged; nothing learns from it.

    What is said of several functions at once, the choices of a question or the parts of a text, is as many feedbacks,
    and logged whole or not at all.
    """

    code = "feedback_refused"

    def __init__(self, source: str, limit: int, retry_after: timedelta) -> None:
        self.source = source
        self.limit = limit
        #: When the source may say more.
        self.retry_after = retry_after
        shown = ascii(source if len(source) <= 80 else source[:80] + "…")  # noqa: PLR2004
        super().__init__(
            f"{shown} would have given more than {limit:,} feedbacks within a minute, its limit "
            "(DISPATCHER_FEEDBACK_PER_SOURCE); "
            f"try again in {max(1, ceil(retry_after.total_seconds()))} s"
        )


class NoSelectionError(DispatcherError):
    """Feedback was given on what was not selected by text, or on a selection that does not say of what it speaks."""

    code = "no_selection"


class CallRefusedError(DispatcherError):
    """The request was not accepted. Nothing was queued, nothing will run."""

    code = "refused"


class UnknownFunctionError(CallRefusedError):
    """No function of that name is registered."""

    code = "unknown_function"

    def __init__(self, name: str, *, near: Sequence[str] = (), hint: str = "") -> None:
        self.name = name
        self.near = tuple(near)
        shown = ascii(name if len(name) <= 80 else name[:80] + "…")  # noqa: PLR2004
        message = f"no function is registered as {shown}"
        if hint:
            message += f" ({hint})"
        if near:
            message += "; did you mean " + " or ".join(repr(n) for n in near) + "?"
        super().__init__(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArgumentIssue:
    """One thing wrong with the arguments."""

    #: Where, as a path of names and positions: `rows.3.amount`. Empty for the arguments as a whole.
    location: str
    #: What is wrong, in words. Never holds the value, which may be sensitive.
    problem: str
    #: A stable name of the kind of problem, pydantic's where pydantic found it.
    kind: str


class InvalidArgumentsError(CallRefusedError):
    """The arguments do not fit the function: missing, extra, or of the wrong type."""

    code = "invalid_arguments"

    def __init__(self, function: str, issues: Sequence[ArgumentIssue]) -> None:
        self.function = function
        self.issues = tuple(issues)
        listed = "; ".join(f"{i.location}: {i.problem}" if i.location else i.problem for i in self.issues)
        super().__init__(f"{function}: {listed}")


class ArgumentLimitError(CallRefusedError):
    """The arguments are too large, too deep, or hold what JSON cannot carry (NaN, Infinity, a lone surrogate)."""

    code = "argument_limit"

    def __init__(self, function: str, kind: str, problem: str) -> None:
        self.function = function
        #: One of: size, depth, integer, number, text, duplicate, syntax, type.
        self.kind = kind
        super().__init__(f"{function}: {problem}" if function else problem)


class InvalidToolCallError(CallRefusedError):
    """A tool call is not of the format it claims to be."""

    code = "invalid_tool_call"


class NoFunctionSelectedError(CallRefusedError):
    """The selector abstained: no registered function fits the text well enough."""

    code = "no_function_selected"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"no function was selected: {reason}")


class IdempotencyConflictError(CallRefusedError):
    """The idempotency key was used before for a call with other arguments. That earlier call is untouched."""

    code = "idempotency_conflict"

    def __init__(self, key: str, function: str, job_id: str) -> None:
        self.key = key
        #: The job that the key belongs to.
        self.job_id = job_id
        super().__init__(
            f"idempotency key {key!r} of {function} belongs to job {job_id}, which has other arguments; "
            "use a new key for a new call"
        )


class BacklogFullError(CallRefusedError):
    """The queue holds as many waiting jobs as it may. Try again later, or add workers."""

    code = "backlog_full"

    def __init__(self, queue: str, limit: int) -> None:
        self.queue = queue
        self.limit = limit
        super().__init__(
            f"queue {queue!r} already holds {limit:,} waiting jobs, its limit (DISPATCHER_MAX_BACKLOG); "
            "try again later or add workers"
        )


class ServerError(DispatcherError):
    """Something is wrong with the Redis/Valkey server. `address` names it, without its password."""

    code = "server"

    def __init__(self, address: str, problem: str, *, accepted: Acceptance = Acceptance.NO) -> None:
        self.address = address
        #: What is wrong, and what to do, without the address.
        self.problem = problem
        self.accepted = accepted
        state = {
            Acceptance.NO: "the call was not accepted",
            Acceptance.YES: "the call was accepted and is not lost",
            Acceptance.UNKNOWN: "whether the call was accepted is not known",
        }[accepted]
        super().__init__(f"{address}: {problem} ({state})")


class NoServerError(ServerError):
    """No server is configured, and none could be started here."""

    code = "no_server"


class ServerUnreachableError(ServerError):
    """The server does not answer: not started, gone away, or a network between."""

    code = "server_unreachable"


class ServerAuthError(ServerError):
    """The server refuses our user name or password, or our user may not do what we need."""

    code = "server_auth"


class ServerFullError(ServerError):
    """The server is out of memory and takes nothing new (`maxmemory` reached, policy `noeviction`)."""

    code = "server_full"


class ServerUnusableError(ServerError):
    """The server answers but cannot be used: too old, read-only, still loading, or misconfigured."""

    code = "server_unusable"


class UnknownJobError(DispatcherError):
    """The ledger holds no job of that id: it was never accepted, or its record has passed its time to live."""

    code = "unknown_job"

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"the ledger holds no job {job_id!r}; it was never accepted, or its record has expired")


class OutcomeTimeoutError(DispatcherError):
    """The outcome did not come within the time asked for. The job goes on; waiting again is fine."""

    code = "outcome_timeout"
    accepted = Acceptance.YES

    def __init__(self, job_id: str, waited: timedelta) -> None:
        self.job_id = job_id
        super().__init__(f"job {job_id} had no outcome after {waited.total_seconds():g} s; it was accepted and goes on")


class CallNotSucceededError(DispatcherError):
    """The call has its outcome, and the outcome is not a value."""

    code = "call_not_succeeded"
    accepted = Acceptance.YES


class CallFailedError(CallNotSucceededError):
    """The function failed, or the job was given up. `outcome.error` says how, as data."""

    code = "call_failed"

    def __init__(self, job_id: str, outcome: "Failed") -> None:
        self.job_id = job_id
        self.outcome = outcome
        super().__init__(f"job {job_id} failed: {outcome.error}")


class CallCancelledError(CallNotSucceededError):
    """The call was cancelled before it had a result."""

    code = "call_cancelled"

    def __init__(self, job_id: str, outcome: "Cancelled") -> None:
        self.job_id = job_id
        self.outcome = outcome
        super().__init__(f"job {job_id} was cancelled" + (f": {outcome.reason}" if outcome.reason else ""))


class CallExpiredError(CallNotSucceededError):
    """The call's deadline passed before it had a result."""

    code = "call_expired"

    def __init__(self, job_id: str, outcome: "Expired") -> None:
        self.job_id = job_id
        self.outcome = outcome
        super().__init__(f"job {job_id} expired: its deadline passed before it had a result")


class ResultError(DispatcherError):
    """A function's result cannot be sent as JSON, is too large, or cannot be read as the declared return type."""

    code = "result"
    accepted = Acceptance.YES


class FunctionSignal(Exception):  # noqa: N818 - a word to the executor, not an error
    """Raised by a function, or into one, to say what should become of its call."""


class RetryLater(FunctionSignal):
    """Raised by a function: not now, try again after `after`. Counts as an attempt.

    Args:
        after: how long to wait before the next attempt.
        reason: for logs and the outcome, should this have been the last attempt.

    Raises:
        TypeError: `after` is no timedelta.
    """

    def __init__(self, after: timedelta, reason: str = "") -> None:
        check_duration("after", after)
        self.after = after
        self.reason = reason
        super().__init__(reason or f"asked to be retried after {after.total_seconds():g} s")


class GiveUp(FunctionSignal):
    """Raised by a function: never, do not try again. The outcome is Failed, the job a dead letter."""


class Interrupted(FunctionSignal):
    """Raised into a function that must stop. Catch it to clean up, then let it go on."""


class CallCancelled(Interrupted):
    """The producer cancelled this call."""


class CallTimedOut(Interrupted):
    """This attempt ran longer than the function's timeout, or past the job's deadline."""


class LeaseLost(Interrupted):
    """The job belongs to another attempt by now, or is settled: whatever this one returns will not count."""
