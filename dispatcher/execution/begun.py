"""What a node keeps of jobs that its processes have, and may not have begun."""

import mmap
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Begun:
    """The job that a process began last, and when: noted there and read in its node, which wakes neither."""

    def __init__(self) -> None:
        memory = memoryview(mmap.mmap(-1, 16))  # shared with what is forked from now on
        self._job, self._at = memory[:8].cast("q"), memory[8:].cast("d")
        self._job[0] = -1  # jobs are numbered from 0

    def note(self, job: int, at: float) -> None:
        """Take note of a job. Its time goes first: who finds the job finds its time."""
        self._at[0] = at
        self._job[0] = job

    def time_of(self, job: int) -> float | None:
        """When a job was begun; None if it was not, or another was since."""
        return self._at[0] if self._job[0] == job else None


class Given(NamedTuple):
    """A job that was given before Celery knew of it."""

    job_id: str
    number: int
    process: Any
    #: What another process is sent, if this one is lost before it has begun.
    again: "Late"


class Late:
    """A message to a process that is made when it is asked for, which is seldom."""

    def __init__(self, write: Callable[[str, Any], Any], kind: str, words: tuple[Any, ...]) -> None:
        self._write = write
        self._kind = kind
        self._words = words

    def __iter__(self) -> Iterator[Any]:
        header, body, size = self._write(self._kind, self._words)
        return iter((memoryview(header), memoryview(body), size))
