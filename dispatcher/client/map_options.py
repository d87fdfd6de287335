"""The options of `map`, the same on both faces of a producer."""

from collections.abc import Callable, Mapping, Sized
from datetime import timedelta

from typing_extensions import TypedDict

from dispatcher.client.jobs import check_deadline
from dispatcher.client.map_progress import MapProgress, ProgressBar, Report
from dispatcher.clock import Clock
from dispatcher.model.call import Call
from dispatcher.registry.function import Function

#: Rows under way at once: enough to keep many workers busy with jobs of a thousand quick calls.
WINDOW = 10_000


class MapOptions(TypedDict, total=False):
    """How a `map` is run; everything may be left out."""

    #: Rows under way at once, 10,000 by default: all that a map holds in memory, however long its input.
    window: int
    #: Calls in each job. None, the default, sizes jobs by how long the calls take: 50 to 100 ms of work in each.
    calls_per_job: int | None
    #: Of each job, from its acceptance. None: the function's.
    deadline: timedelta | None
    #: Makes the run one that can be resumed: a later run with this key and the same rows takes over what has ended,
    #: waits for what still runs, and runs the rest. Kept as long as idempotency keys are.
    key: str | None
    #: True shows a bar in the terminal; a callable is given a `MapProgress` a few times a second, and at the end.
    progress: bool | Callable[[MapProgress], object]
    #: How many rows there are, for the progress. None asks the rows, where they know.
    total: int | None


def check_map(function: object, rows: object, options: MapOptions) -> None:
    """Refuse what would be taken for something else: a run whose `key` is misspelt could not be resumed.

    Raises:
        TypeError: there is no such option, an option is of another type, the rows are one row, or the function is a
            name.
    """
    if not isinstance(function, Function):
        msg = f"map calls a function of the registry, not {function!r:.60}; registry.get(name) gives it"
        raise TypeError(msg)
    unknown = sorted(options.keys() - MapOptions.__annotations__.keys())
    if unknown:
        msg = f"map has no option {', '.join(unknown)}; there are {', '.join(MapOptions.__annotations__)}"
        raise TypeError(msg)
    if isinstance(rows, str | bytes | Mapping | Call):
        msg = f"map takes many rows, and a {type(rows).__name__} is one: give an iterable of mappings or calls"
        raise TypeError(msg)
    check_deadline(options.get("deadline"))


def make_report(what: str, rows: object, options: MapOptions, clock: Clock) -> Report | None:
    """What tells the progress that was asked for; None where none was."""
    progress, total = options.get("progress", False), options.get("total")
    if progress is False:
        return None
    if total is None and isinstance(rows, Sized):
        total = len(rows)
    return Report(ProgressBar(what) if progress is True else progress, total, clock)
