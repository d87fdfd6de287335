"""What the figures were measured on: they mean little without it."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

#: Settings that say how many threads linear algebra may take.
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def describe(packages: Iterable[str]) -> dict[str, str]:
    """The machine and the versions, by what they are of.

    Args:
        packages: the distributions whose versions change the figures.
    """
    described = {
        "system": platform.platform(terse=True),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    for package in packages:
        try:
            described[package] = version(package)
        except PackageNotFoundError:
            described[package] = "not installed"
    threads = {name: os.environ[name] for name in _THREADS if name in os.environ}
    described["threads"] = (
        ", ".join(f"{name}={value}" for name, value in threads.items()) or "as many as there are cores"
    )
    return described


def load() -> float:
    """How many programs wanted a processor, on average over the last minute."""
    return round(os.getloadavg()[0], 2)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
