"""What a function says about being tried again. The decision itself is `dispatcher.execution.retry`."""

from dataclasses import dataclass
from datetime import timedelta

from dispatcher.model.duration import check_duration


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter, up to a number of attempts.

    The wait before attempt n + 1 is drawn evenly from 0 to `first_wait * factor ** (n - 1)`, at most `longest_wait`.
    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Raises:
        ValueError: if a value is out of range.
        TypeError: if a wait is no timedelta.
    """

    #: Attempts in all, the first one included. 1 means a failure is final.
    max_attempts: int = 1
    first_wait: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    longest_wait: timedelta = timedelta(minutes=5)
    #: False waits the full time, for tests and for services that ask for exact pauses.
    jitter: bool = True
    #: Only these exceptions (and their subclasses) are retried. Timeouts always are.
    on: tuple[type[Exception], ...] = (Exception,)
    #: These never are, even where `on` names a parent of theirs.
    never_on: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            msg = f"max_attempts must be at least 1 (the first attempt counts), not {self.max_attempts}"
            raise ValueError(msg)
        check_duration("first_wait", self.first_wait)
        check_duration("longest_wait", self.longest_wait)
        if self.first_wait < timedelta(0) or self.longest_wait < self.first_wait:
            msg = f"waits must satisfy 0 <= first_wait <= longest_wait, not {self.first_wait} and {self.longest_wait}"
            raise ValueError(msg)
        if self.factor < 1:
            msg = f"factor must be at least 1, not {self.factor}"
            raise ValueError(msg)
