"""Processor time and memory of processes and of all that they started, from /proc. Linux only."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_PROC: Final = Path("/proc")
#: Where the fields of a `stat` line stand, counted from the one after the program's name. Source: proc(5).
_PARENT, _USER, _CHILDREN_END, _PAGES = 1, 11, 15, 21


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """What the system says of one process."""

    pid: int
    parent: int
    #: Of itself, and of its children that ended and were waited for.
    ticks: int
    resident_bytes: int


def read_stat(line: str) -> Process:
    """Read a line of /proc/PID/stat. The program's name, in brackets, may hold anything."""
    pid, _, rest = line.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    return Process(
        pid=int(pid),
        parent=int(fields[_PARENT]),
        ticks=sum(map(int, fields[_USER:_CHILDREN_END])),
        resident_bytes=int(fields[_PAGES]) * _PAGE,
    )


def all_processes() -> dict[int, Process]:
    """Every process there is, by its id."""
    found: dict[int, Process] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            try:
                process = read_stat((entry / "stat").read_text(encoding="utf-8", errors="replace"))
            except OSError:
                continue  # it has ended meanwhile
            found[process.pid] = process
    return found


def tree(roots: Iterable[int], processes: Mapping[int, Process]) -> list[Process]:
    """These processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: dict[int, Process] = {}
    left = list(roots)
    while left:
        pid = left.pop()
        if pid in processes and pid not in found:
            found[pid] = processes[pid]
            left += children.get(pid, [])
    return list(found.values())


def cpu_seconds(processes: Iterable[Process]) -> float:
    """The processor time that they have used, children that ended among them."""
    return sum(process.ticks for process in processes) / _TICKS


def resident(processes: Iterable[Process]) -> int:
    """Resident memory in bytes; pages that processes share count for each of them."""
    return sum(process.resident_bytes for process in processes)


def proportional(processes: Iterable[Process]) -> int:
    """The same with every shared page counted once, split among those that share it (PSS)."""
    return sum(_proportional(process.pid) for process in processes)


def _proportional(pid: int) -> int:
    return _kilobytes(_PROC / str(pid) / "smaps_rollup", "Pss:")


def peak_resident(process: Process) -> int:
    """The most resident memory in bytes that a process has had."""
    return _kilobytes(_PROC / str(process.pid) / "status", "VmHWM:")


def _kilobytes(path: Path, name: str) -> int:
    """A line of that name in bytes; 0 where the process has ended, or belongs to somebody else."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Processor time, by who used it, in seconds."""

    producer: float
    worker: float
    server: float

    @classmethod
    def now(cls, *, producer: Iterable[int], worker: Iterable[int], server: Iterable[int]) -> Self:
        """What each has used since it began; the arguments are the first processes of each."""
        processes = all_processes()
        used = (cpu_seconds(tree(roots, processes)) for roots in (producer, worker, server))
        first, second, third = used
        return cls(producer=first, worker=second, server=third)

    @property
    def total(self) -> float:
        return self.producer + self.worker + self.server

    def since(self, earlier: "Split") -> "Split":
        """What was used between an earlier look and this one."""
        return Split(
            producer=self.producer - earlier.producer,
            worker=self.worker - earlier.worker,
            server=self.server - earlier.server,
        )

    def per(self, calls: int) -> "Split":
        """The same for each of so many calls."""
        return Split(producer=self.producer / calls, worker=self.worker / calls, server=self.server / calls)
