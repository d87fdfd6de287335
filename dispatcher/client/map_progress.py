"""How far a `map` is: for a callback, or as a bar in the terminal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from dispatcher.clock import Clock
from dispatcher.model.outcome import Outcome, Succeeded

#: Seconds between two reports.
INTERVAL = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class MapProgress:
    """How far a `map` is."""

    #: Rows whose outcome was handed out, and how many of them did not succeed.
    done: int
    failed: int
    #: Rows there are; None where nobody knows.
    total: int | None
    seconds: float

    @property
    def rate(self) -> float:
        """Rows a second, since the beginning."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def time_left(self) -> timedelta | None:
        """Until the end, if it goes on like this; None while that cannot be said."""
        if self.total is None or self.rate == 0:
            return None
        return timedelta(seconds=max(0, self.total - self.done) / self.rate)


class Report:
    """Counts outcomes, and says so a few times a second.

    Args:
        tell: called in the event loop with each report, the last one at the end.
        total: rows there are, where that is known.
        clock: for the rate.
    """

    def __init__(self, tell: Callable[[MapProgress], object], total: int | None, clock: Clock) -> None:
        self._tell = tell
        self._total = total
        self._clock = clock
        self._began = self._told = clock.monotonic()
        self._done = self._failed = 0

    def add(self, outcomes: Sequence[Outcome[Any]]) -> None:
        """These were handed out."""
        self._done += len(outcomes)
        self._failed += sum(not isinstance(outcome, Succeeded) for outcome in outcomes)
        now = self._clock.monotonic()
        if now - self._told >= INTERVAL:
            self._told = now
            self._tell(self._progress(now))

    def close(self) -> None:
        """The last report."""
        self._tell(self._progress(self._clock.monotonic()))
        if isinstance(self._tell, ProgressBar):
            self._tell.stop()

    def _progress(self, now: float) -> MapProgress:
        return MapProgress(done=self._done, failed=self._failed, total=self._total, seconds=now - self._began)


class ProgressBar:
    """Shows progress on standard error, as a bar where that is a terminal, and not at all elsewhere.

    Args:
        what: is being done.
    """

    def __init__(self, what: str) -> None:
        from rich.console import Console  # noqa: PLC0415 - only who asks for a bar needs it
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

        console = Console(stderr=True)
        self._shown = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[more]}"),
            console=console, disable=not console.is_terminal, transient=True,
        )  # fmt: skip
        self._task = self._shown.add_task(what, total=None, more="")
        self._shown.start()

    def __call__(self, progress: MapProgress) -> None:
        left = progress.time_left
        more = [f"{progress.rate:,.0f}/s"]
        if left is not None:
            more.append(f"{timedelta(seconds=round(left.total_seconds()))} left")
        if progress.failed:
            more.append(f"{progress.failed:,} failed")
        self._shown.update(self._task, completed=progress.done, total=progress.total, more="  ".join(more))

    def stop(self) -> None:
        """Take the bar away."""
        self._shown.stop()
