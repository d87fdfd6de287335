"""How many calls of a `map` go into a job, by how long they took so far."""

from dispatcher.transport.outcomes import JobRecord

#: Seconds of work that a job should hold: much more than its own cost, little enough to spread over workers.
JOB_SECONDS = 0.075
LARGEST_JOB = 1_000
#: Bytes of results that a job should hold at most, about.
RESULT_BYTES = 4 * 1024 * 1024
#: A job grows at most by this factor over the largest that was quick: one quick call says little about the next.
GROWTH = 4
#: Coroutines of a job run at once, so their time says nothing of the work: how many a job of them holds.
FEWEST_AT_ONCE, FIRST_AT_ONCE = 25, 50


class JobSize:
    """Calls in the next job.

    Args:
        fixed: always so many, where given.
        at_once: whether the calls of a job run at once.
    """

    def __init__(self, fixed: int | None, *, at_once: bool = False) -> None:
        self._fixed = fixed
        self._fewest = FEWEST_AT_ONCE if at_once else 1
        self.calls = fixed or (FIRST_AT_ONCE if at_once else 1)
        #: Whether any job has ended, so that something is known of how long calls take.
        self.known = fixed is not None

    def learn(self, record: JobRecord, calls: int) -> None:
        """A job of so many calls has ended."""
        self.known = True
        if self._fixed is not None:
            return
        wished = int(JOB_SECONDS * calls / max(record.seconds, 1e-6))
        if wished >= calls:
            # It was quick: of a job much smaller than those of now, the time is mostly its own cost.
            wished = max(self.calls, min(wished, calls * GROWTH))
        wished = min(wished, _holding(RESULT_BYTES, record, calls))
        self.calls = max(self._fewest, min(wished, LARGEST_JOB))


def _holding(size: int, record: JobRecord, calls: int) -> int:
    """How many results like these are so large together."""
    length = sum(len(entry.value) for entry in record.calls if entry.value is not None)
    return max(1, size * calls // max(length, 1))
