"""From an exception to the data that crosses the wire."""

import dataclasses
import traceback
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, SecretBytes, SecretStr

from dispatcher.errors import ArgumentLimitError as LimitError
from dispatcher.errors import CallTimedOut, GiveUp, InvalidArgumentsError, ResultError, UnknownFunctionError
from dispatcher.model.envelope import EnvelopeError
from dispatcher.model.outcome import ErrorInfo, ErrorKind, type_name
from dispatcher.registry.redaction import HIDDEN

#: Characters of an exception's text, and of a traceback, that are kept.
MESSAGE_LIMIT = 2_000
TRACEBACK_LIMIT = 8_000
#: The innermost frames say most.
FRAMES = 20
#: A shorter secret is not looked for in texts: replacing every "7" would hide everything else.
SHORTEST_SECRET = 3

_KINDS: tuple[tuple[type[BaseException], ErrorKind], ...] = (
    (GiveUp, ErrorKind.GAVE_UP),
    (CallTimedOut, ErrorKind.TIMEOUT),
    (UnknownFunctionError, ErrorKind.UNKNOWN_FUNCTION),
    (InvalidArgumentsError, ErrorKind.INVALID_ARGUMENTS),
    (LimitError, ErrorKind.INVALID_ARGUMENTS),
    (ResultError, ErrorKind.RESULT),
    (EnvelopeError, ErrorKind.ENVELOPE),
)


def describe(error: BaseException, secrets: Iterable[str] = ()) -> ErrorInfo:
    """Describe a failure, with the values of sensitive arguments replaced by `***`."""
    kind = next((kind for cls, kind in _KINDS if isinstance(error, cls)), ErrorKind.FUNCTION)
    message = _safe_text(error)
    frames = ""
    if kind in {ErrorKind.FUNCTION, ErrorKind.TIMEOUT, ErrorKind.GAVE_UP}:
        frames = _traceback(error)
    secrets = [secret for secret in secrets if len(secret) >= SHORTEST_SECRET]
    return ErrorInfo(
        kind=kind,
        type=type_name(error),
        message=_hide(message, secrets)[:MESSAGE_LIMIT],
        # Hidden first, then cut: a secret cut in half would not be found.
        traceback=_hide(frames, secrets)[-TRACEBACK_LIMIT:],
    )


def secrets_of(arguments: Mapping[str, object], sensitive: Iterable[str]) -> list[str]:
    """The texts that the values of sensitive arguments could appear as."""
    texts: set[str] = set()
    waiting = [arguments[name] for name in sensitive if name in arguments]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            waiting.extend(value)
        elif isinstance(value, SecretStr | SecretBytes):
            waiting.append(value.get_secret_value())
        elif isinstance(value, BaseModel) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
            waiting.extend(vars(value).values() if hasattr(value, "__dict__") else dataclasses.astuple(value))
        elif value is not None and not isinstance(value, bool):
            texts |= {str(value), repr(value), ascii(value)}
    return sorted(texts, key=len, reverse=True)


def _traceback(error: BaseException) -> str:
    """The traceback from the function's own first frame on: how the executor got there says nothing."""
    frame = error.__traceback__
    while frame is not None and str(frame.tb_frame.f_globals.get("__name__")).startswith("dispatcher.execution."):
        frame = frame.tb_next
    lines = traceback.format_exception(type(error), error, frame, limit=-FRAMES)
    return "".join(lines)


def _safe_text(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may do anything, and a failure must be recorded
        text = f"<the error's text cannot be shown: {type(broken).__name__}>"
    return text.encode("utf-8", "replace").decode()


def _hide(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text.encode("utf-8", "replace").decode()
