"""The demo's report: what became of every request, by function, in tables and as data."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

from dispatcher.cli.demonstration.requests import NONE
from dispatcher.cli.demonstration.run import Tried

if TYPE_CHECKING:
    from rich.console import Console

#: Characters of an example that fit into a line beside its reason.
_EXAMPLE_CHARACTERS = 60
#: Requests shown that did not end as the file says.
_MAX_SURPRISES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What became of all requests."""

    tried: Sequence[Tried]
    #: From the first selection to the last outcome.
    took: timedelta

    @property
    def accepted(self) -> int:
        return sum(tried.accepted for tried in self.tried)

    @property
    def outcomes(self) -> int:
        return sum(tried.record is not None for tried in self.tried)

    @property
    def complete(self) -> bool:
        """Whether every accepted call has its outcome."""
        return self.accepted == self.outcomes

    @property
    def rate(self) -> float:
        """Accepted calls a second."""
        return self.accepted / self.took.total_seconds() if self.took else 0.0

    @property
    def selection(self) -> tuple[int, int]:
        """Requests that were given the function the file expects, of how many where it says."""
        judged = [tried for tried in self.tried if tried.request.expected]
        return sum(tried.request.selects_right(tried.function) for tried in judged), len(judged)

    @property
    def endings(self) -> tuple[int, int]:
        """Requests that ended as the file says, of how many where it says."""
        judged = [tried for tried in self.tried if tried.request.outcome]
        return sum(tried.ending == tried.request.outcome for tried in judged), len(judged)

    def surprises(self) -> list[dict[str, str]]:
        """The requests that were given another function than the file expects, or ended otherwise."""
        return [
            {
                "id": tried.request.id,
                "text": tried.request.text,
                "expected": " or ".join(sorted(tried.request.expected)) + _ended(tried.request.outcome),
                "got": (tried.function or NONE) + _ended(tried.ending),
            }
            for tried in self.tried
            if (tried.request.expected and not tried.request.selects_right(tried.function))
            or (tried.request.outcome and tried.ending != tried.request.outcome)
        ]

    def by_function(self) -> list[dict[str, Any]]:
        """A row for each function, and one for the requests without."""
        groups: dict[str | None, list[Tried]] = defaultdict(list)
        for tried in self.tried:
            groups[tried.function].append(tried)
        return [_row(name, groups[name]) for name in sorted(groups, key=lambda name: (name is None, name or ""))]

    def refusals(self) -> list[dict[str, Any]]:
        """How many were refused for each reason, with one example each."""
        groups: dict[str, list[Tried]] = defaultdict(list)
        for tried in self.tried:
            if tried.refusal is not None:
                groups[tried.refusal.code].append(tried)
        return [
            {
                "code": code,
                "count": len(group),
                "example": {"id": group[0].request.id, "text": group[0].request.text, "reason": str(group[0].refusal)},
            }
            for code, group in sorted(groups.items(), key=lambda item: -len(item[1]))
        ]

    def to_data(self) -> dict[str, Any]:
        """Everything, as JSON data."""
        right, judged = self.selection
        as_said, said = self.endings
        return {
            "requests": len(self.tried),
            "accepted": self.accepted,
            "outcomes": self.outcomes,
            "complete": self.complete,
            "endings": dict(Counter(tried.ending for tried in self.tried)),
            "seconds": round(self.took.total_seconds(), 3),
            "calls_per_second": round(self.rate, 1),
            "selection": {"right": right, "of": judged},
            "as_expected": {"right": as_said, "of": said},
            "functions": self.by_function(),
            "refusals": self.refusals(),
            "surprises": self.surprises(),
            "missing": [tried.job_id for tried in self.tried if tried.ending == "missing"],
        }


def _row(name: str | None, group: Sequence[Tried]) -> dict[str, Any]:
    endings = Counter(tried.ending for tried in group)
    times = [tried.took.total_seconds() for tried in group if tried.record is not None]
    return {
        "function": name,
        "requests": len(group),
        "succeeded": endings["succeeded"],
        "failed": sum(endings[state] for state in ("failed", "cancelled", "expired", "missing")),
        "refused": endings["refused"],
        "retries": sum(tried.retries for tried in group),
        "median_seconds": round(median(times), 4) if times else None,
        "max_seconds": round(max(times), 4) if times else None,
    }


def show(report: Report, screen: "Console") -> None:
    """Print the report for people."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Calls by function", title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("function", no_wrap=True)
    columns = ("requests", "succeeded", "failed", "refused", "retries", "median", "max")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in report.by_function():
        numbers = [_count(row[column]) for column in columns[:5]]
        name = row["function"] if row["function"] is not None else "(no function fits)"
        table.add_row(Text(name), *numbers, _time(row["median_seconds"]), _time(row["max_seconds"]))
    screen.print(table)
    _show_refusals(report, screen)
    _show_totals(report, screen)


def _show_refusals(report: Report, screen: "Console") -> None:
    from rich.text import Text

    refusals = report.refusals()
    if not refusals:
        return
    screen.print(Text("\nRefused, with the reason stated and nothing queued", style="italic"), soft_wrap=True)
    for refusal in refusals:
        example = refusal["example"]
        screen.print(Text(f"{refusal['count']:4}  {refusal['code']}"), soft_wrap=True)
        screen.print(Text(f"      e.g. “{_short(example['text'])}”: {example['reason']}", style="dim"), soft_wrap=True)


def _show_totals(report: Report, screen: "Console") -> None:
    from rich.text import Text

    endings = Counter(tried.ending for tried in report.tried)
    parts = [f"{count} {ending}" for ending, count in endings.most_common()]
    right, judged = report.selection
    as_said, said = report.endings
    screen.print()
    screen.print(Text(f"{len(report.tried)} requests: {', '.join(parts)}", style="bold"), soft_wrap=True)
    if judged:
        screen.print(
            Text(f"the right function for {right} of {judged} requests ({right / judged:.1%})"), soft_wrap=True
        )
    if said:
        screen.print(
            Text(f"{as_said} of the {said} requests that are meant to fail or to be refused did so"), soft_wrap=True
        )
    _show_surprises(report, screen)
    rate = f"{report.took.total_seconds():.2f} s, {report.rate:.0f} calls/s"
    verdict = "every accepted call has its outcome" if report.complete else "OUTCOMES ARE MISSING"
    style = "green" if report.complete else "bold red"
    screen.print(
        Text(f"accepted {report.accepted}, outcomes {report.outcomes}: {verdict} ({rate})", style=style), soft_wrap=True
    )


def _show_surprises(report: Report, screen: "Console") -> None:
    from rich.text import Text

    surprises = report.surprises()
    for surprise in surprises[:_MAX_SURPRISES]:
        line = f"      {surprise['id']} “{_short(surprise['text'])}”: {surprise['got']}, not {surprise['expected']}"
        screen.print(Text(line, style="dim"), soft_wrap=True)
    if len(surprises) > _MAX_SURPRISES:
        screen.print(Text(f"      and {len(surprises) - _MAX_SURPRISES} more; see --json", style="dim"), soft_wrap=True)


def _ended(ending: str) -> str:
    return f", {ending}" if ending else ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _EXAMPLE_CHARACTERS else line[: _EXAMPLE_CHARACTERS - 1] + "…"


def _count(number: int) -> str:
    return str(number) if number else "·"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "·"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
