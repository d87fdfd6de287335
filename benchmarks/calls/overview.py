"""The README's table, from a run's raw numbers: `python -m benchmarks.calls.overview FILE`."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.calls.contestants import OURS
from benchmarks.markdown import heading, line

#: Between them it stands in the README.
MARKERS = ("<!-- bench-overview -->", "<!-- /bench-overview -->")

#: What is shown of each kind of work: a title, and how its medians are written.
_ROWS = (
    ("map", "no-op calls in bulk, a second", "rate"),
    ("map", "… processor time of one, µs", "cpu"),
    ("separate", "no-op calls, each by itself, a second", "rate"),
    ("single", "one at a time, idle: median, ms", "p50"),
    ("wait-map", "2,000 that wait 100 ms, in bulk, s", "seconds"),
    ("wait-separate", "… each by itself, s", "seconds"),
)


def overview(medians: Sequence[Mapping[str, Any]]) -> str:
    """A row for each kind of work, a column for each contestant, ours first.

    Args:
        medians: as `report.median_as_data` writes them.
    """
    found = {(median["work"], median["contestant"]): median for median in medians}
    names = list(dict.fromkeys(median["contestant"] for median in medians))
    names.sort(key=lambda name: name != OURS)
    lines = heading(["", *names])
    for work, title, what in _ROWS:
        cells = [_write(found.get((work, name)), what) for name in names]
        if any(cells):
            lines.append(line([title, *cells]))
    return "\n".join((MARKERS[0], *lines, MARKERS[1]))


def _write(median: Mapping[str, Any] | None, what: str) -> str:
    if median is None:
        return ""
    if what == "rate":
        return f"{median['rate']:,.0f}"
    if what == "cpu":
        return f"{median['cpu_us_per_call']['total']:,.0f}"
    if what == "p50":
        return "" if median["p50_us"] is None else f"{median['p50_us'] / 1000:.2f}"
    return f"{median['seconds']:.2f}"


if __name__ == "__main__":
    sys.stdout.write(overview(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["medians"]) + "\n")
