"""How a call ended."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

R_co = TypeVar("R_co", covariant=True)


class ErrorKind(StrEnum):
    """Where a failure came from."""

    #: The function raised.
    FUNCTION = "function"
    #: The function ran longer than its timeout.
    TIMEOUT = "timeout"
    #: The function raised GiveUp.
    GAVE_UP = "gave_up"
    #: The worker does not know the function, or its arguments do not fit the worker's version of it.
    UNKNOWN_FUNCTION = "unknown_function"
    INVALID_ARGUMENTS = "invalid_arguments"
    #: The result cannot be sent.
    RESULT = "result"
    #: Workers died while running it, as often as is allowed.
    LOST = "lost"
    #: The job's record cannot be read.
    ENVELOPE = "envelope"


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorInfo:
    """A failure as data: what crosses the wire instead of an exception object."""

    kind: ErrorKind
    #: The exception's class as `module.Name`, builtins without the module.
    type: str
    #: The exception's text, at most 2,000 characters, sensitive values redacted.
    message: str
    #: The last frames of the traceback, for people; empty where there is none.
    traceback: str = ""

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"


def type_name(error: BaseException) -> str:
    """An exception's class, as `ErrorInfo.type` names it."""
    cls = type(error)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Succeeded(Generic[R_co]):
    """The function returned."""

    value: R_co
    #: Attempts it took, the successful one included. 0 for a result from the cache.
    attempts: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """The function failed for good, or the job was given up."""

    error: ErrorInfo
    attempts: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """The producer cancelled the call before it had a result."""

    reason: str = ""
    attempts: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Expired:
    """The job's deadline passed before the call had a result."""

    attempts: int = 0


#: Every accepted call ends in exactly one of these.
Outcome = Succeeded[R_co] | Failed | Cancelled | Expired
