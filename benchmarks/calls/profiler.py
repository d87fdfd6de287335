"""Where the processor time of a process goes, thread by thread. Standard library only: producers of others import it.

The clock is that of the thread's own processor time, so that waiting costs nothing. Being watched costs a good half of
what is measured: look at which function takes what share, not at the sums.
"""

import marshal
import os
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cProfile

#: The folder that profiles are written into; unset: nothing is watched.
PROFILE_VARIABLE = "BENCH_PROFILE"


class Profiler:
    """Watches this thread, and every thread that is started from now on."""

    def __init__(self) -> None:
        self._profiles: list[cProfile.Profile] = []

    def start(self) -> None:
        """Begin."""
        threading.setprofile(self._begin)
        self._watch()

    def _begin(self, _frame: FrameType, _event: str, _argument: object) -> None:
        self._watch()  # takes the place of this hook in the thread that has just begun

    def _watch(self) -> None:
        import cProfile  # noqa: PLC0415 - what is not watched does not hold it

        profile = cProfile.Profile(time.thread_time_ns, 1e-9)
        self._profiles.append(profile)
        profile.enable()

    def clear(self) -> None:
        """Forget what was seen so far."""
        for profile in self._profiles:
            profile.clear()

    def write(self, role: str) -> None:
        """Write what each thread did into the folder that the environment names; `pstats` adds such files up."""
        threading.setprofile(None)
        sys.setprofile(None)
        for number, profile in enumerate(self._profiles):
            # Not `dump_stats`: it would end calls of other threads that are under way by the clock of this one.
            profile.snapshot_stats()
            path = Path(os.environ[PROFILE_VARIABLE]) / f"{role}-{os.getpid()}-{number}.prof"
            path.write_bytes(marshal.dumps(profile.stats))


def wanted() -> Profiler | None:
    """A profiler that runs, where the environment asks for one."""
    if PROFILE_VARIABLE not in os.environ:
        return None
    profiler = Profiler()
    profiler.start()
    return profiler
