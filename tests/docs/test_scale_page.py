"""docs/scale.md says what the code says: its tables are the script's, its bounds are those of the code."""

import re
from pathlib import Path

import pytest

from benchmarks.scale import report
from benchmarks.scale.needs import Cost, Limits, Upkeep
from benchmarks.scale.shapes import SHAPES
from dispatcher import Settings
from dispatcher.client import acceptor, bulk, collector, job_size, map_options
from dispatcher.execution import supervisor, sweeper
from dispatcher.transport import admission, cache, connection, map_journal, publisher

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
TABLES = PAGE.partition(report.MARKERS[0])[2].partition(report.MARKERS[1])[0]


def bound(what: str) -> str:
    """What the page says that something is bounded by."""
    (row,) = re.findall(rf"^\| {re.escape(what)}[^|]* \| ([^|]+) \|$", PAGE, flags=re.MULTILINE)
    return row.replace(",", "")


def test_its_tables_have_the_columns_and_the_shapes_of_the_script() -> None:
    cost = Cost(**dict.fromkeys(Cost.__dataclass_fields__, 1.0))
    upkeep = Upkeep(**dict.fromkeys(Upkeep.__dataclass_fields__, 1))
    for rows in report.tables({shape.title: cost for shape in SHAPES}, upkeep, Limits(), 1e9):
        assert "| " + " | ".join(rows.heads) + " |" in TABLES
        for row in rows.rows:
            assert f"\n| {row[0]} | " in TABLES
    assert report.assumptions(Limits()) in TABLES


def test_it_says_on_what_machine_and_when_it_was_measured() -> None:
    assert re.search(r"^date \d{4}-\d\d-\d\d; system .+; processor .+ cores; python ", TABLES, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("what", "numbers"),
    [
        ("waiting jobs in a queue", [Settings().max_backlog]),
        ("a job", [job_size.LARGEST_JOB, bulk.JOB_BYTES // 1024]),
        ("dead letters", [Settings().max_dead_letters]),
        ("a sweep", [sweeper.ROUNDS, sweeper.LIMIT, sweeper.ROUNDS, sweeper.LIMIT]),
        (
            "a request to the ledger",
            [acceptor.BATCH, admission.TOGETHER, supervisor.BEATS_AT_ONCE, cache.BATCH, collector.POLL_LIMIT],
        ),
        ("a producer's connections", [connection.MAX_CONNECTIONS]),
        ("a producer's look at the store", [collector.POLL_LIMIT]),
        ("`map`", [map_options.WINDOW, bulk.WINDOW_BYTES // 1024**2]),
        ("wake-ups in a producer", [publisher.MOST_WAITING]),
    ],
)
def test_its_bounds_are_those_of_the_code(what: str, numbers: list[int]) -> None:
    assert [int(number) for number in re.findall(r"\d+", bound(what))] == numbers


def test_the_journal_of_a_map_is_read_in_steps_of_what_it_says() -> None:
    assert f"read in steps of {map_journal.AT_ONCE:,}" in PAGE


def test_settings_that_it_names_exist() -> None:
    named = set(re.findall(r"`([A-Z][A-Z_]+[A-Z])`", PAGE)) - {"KEYS", "SCAN"}
    assert {name.removeprefix("DISPATCHER_").lower() for name in named} <= Settings.model_fields.keys()
