"""Durations are timedeltas. A number is refused in words: it could be taken for seconds, or for milliseconds."""

from datetime import timedelta


def check_duration(name: str, value: object) -> None:
    """Refuse what is no duration.

    Args:
        name: of the argument, for the message.
        value: of a caller who may have no type checker.

    Raises:
        TypeError: it is no timedelta.
    """
    if not isinstance(value, timedelta):
        msg = f"{name} must be a timedelta, not {value!r:.60}; write timedelta(seconds=…)"
        raise TypeError(msg)
