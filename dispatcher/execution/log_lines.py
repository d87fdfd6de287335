"""Log lines with their fields: `job_failed job_id=… function=… attempt=1` instead of the event's bare name.

Our loggers put the fields beside the message, where structured handlers find them; Celery's format shows only the
message.
"""

import logging
from typing import Any, Final

#: What every record has: all else are fields of the event.
_STANDARD: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})


class WithFields(logging.Formatter):
    """Another formatter's lines, and behind the first of each the fields of our own events."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        text = self._inner.format(record)
        if not record.name.startswith("dispatcher."):
            return text
        message = record.getMessage()
        fields = [
            f" {name}={_one_line(value)}"
            for name, value in vars(record).items()
            # A reason is often the message's second half already.
            if name not in _STANDARD and not (isinstance(value, str) and value and value in message)
        ]
        first, newline, rest = text.partition("\n")
        return first + "".join(fields) + newline + rest


def show_fields(logger: logging.Logger) -> None:
    """Let the handlers that Celery gave a logger show the fields."""
    for handler in logger.handlers:
        if handler.formatter is not None and not isinstance(handler.formatter, WithFields):
            handler.setFormatter(WithFields(handler.formatter))


def _one_line(value: Any) -> str:  # noqa: ANN401 - whatever an event tells
    text = str(value)
    return repr(text) if not text or any(letter.isspace() for letter in text) else text
