"""docs/monitoring.md says what the code does: every metric and every log event is in its tables, and nothing else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.monitoring.metrics import LedgerCollector
from dispatcher.transport.fleet import FleetCounts
from dispatcher.transport.nodes import NodeReport
from dispatcher.transport.replies import QueueState

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
#: Written with a variable: `job_` and how it ended.
ENDINGS = {"job_succeeded", "job_failed", "job_retried", "job_cancelled", "job_expired", "job_gave_up"}


def table(heading: str) -> list[list[str]]:
    """The rows of the first table under a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n#")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


class NoSources:
    def read(self) -> tuple[FleetCounts, list[QueueState], list[NodeReport]]:
        return FleetCounts(unsettled=0, running=0, dead_letters=0, counters={}), [], []


def test_every_metric_is_listed_with_its_type() -> None:
    listed = {row[0].strip("`"): row[1] for row in table("Metrics")}
    collected = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in LedgerCollector(NoSources()).collect()
    }
    assert listed == collected


def test_every_metric_that_an_alert_uses_exists() -> None:
    used = set(re.findall(r"dispatcher_\w+", PAGE))
    listed = {row[0].strip("`") for row in table("Metrics")}
    assert used <= listed


def events() -> Iterator[tuple[str, str]]:
    """Event and level of each line that a logger of ours can write."""
    for path in sorted((ROOT / "dispatcher").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logger."):
                level = ast.unparse(node.func).removeprefix("logger.").replace("exception", "error")
                message = node.args[1 if level == "log" else 0]
                if isinstance(message, ast.Constant) and (found := re.match(r"[a-z]+(_[a-z]+)+(?=$|:)", message.value)):
                    yield found[0], level


@pytest.mark.parametrize(("event", "level"), sorted(set(events())))
def test_every_log_event_is_listed_with_its_level(event: str, level: str) -> None:
    (row,) = (row for row in table("Logs") if f"`{event}`" in row[0])
    names, levels = row[0].split(), row[1].split(", ")
    assert (levels * len(names))[names.index(f"`{event}`")] == level


def test_no_event_is_listed_that_nobody_writes() -> None:
    listed = {name for row in table("Logs") for name in re.findall(r"`(\w+)`", row[0])}
    assert listed == {event for event, _ in events()} | ENDINGS
