"""From what one call costs to what a day of calls needs."""

import io
import json

import pytest
from rich.console import Console

from benchmarks.scale import report
from benchmarks.scale.needs import (
    Cost,
    Limits,
    Load,
    Upkeep,
    breaks_first,
    most_calls_per_day,
    needed,
    producers,
    shards,
    shares,
)
from benchmarks.scale.shapes import SHAPES, make_jobs, messages_for

COST = Cost(
    waiting_bytes=1_500,
    kept_bytes=1_000,
    server_seconds=50e-6,
    requests=4,
    commands=40,
    in_bytes=2_000,
    out_bytes=1_000,
    log_bytes=4_000,
    producer_seconds=100e-6,
)
LIMITS = Limits(memory_bytes=10e9, core=0.5, network_bytes=100e6, log_bytes=100e6, loop=0.5)
UPKEEP = Upkeep(
    data_bytes=0.5e9,
    rewrite_seconds=2,
    fork_seconds=0.01,
    restart_seconds=1,
    replay_seconds=4,
    swept_jobs=1_000,
    sweep_seconds=0.2,
    lost_seconds=0.4,
)


def load(*, calls: float = 86.4e6, peak: float = 2, hours: float = 1) -> Load:
    return Load(calls_per_day=calls, peak=peak, kept_hours=hours)


def test_a_days_calls_are_spread_over_it_and_the_peak_is_a_multiple() -> None:
    assert load().average_rate == 1_000
    assert load().peak_rate == 2_000


@pytest.mark.parametrize(
    ("hours", "kept"), [(1, 7.2e6), (12, 86.4e6), (24, 86.4e6), (48, 172.8e6)],
    ids=["an hour at the peak", "a peak as long as the day's calls last", "no more than the day has", "two days"],
)  # fmt: skip
def test_outcomes_of_the_busiest_time_are_kept_at_once(hours: float, kept: float) -> None:
    assert load(hours=hours).kept_calls == pytest.approx(kept)


def test_what_is_needed_goes_by_the_peak() -> None:
    need = needed(COST, load())
    assert need.memory_bytes == pytest.approx(7.2e9)
    assert need.cores == pytest.approx(0.1)
    assert need.network_bytes == pytest.approx(6e6)
    assert need.log_bytes == pytest.approx(8e6)
    assert need.loops == pytest.approx(0.2)


def test_what_takes_most_servers_breaks_first() -> None:
    need = needed(COST, load(hours=24))
    assert list(shares(need, LIMITS)) == ["memory of kept outcomes", "the server's core", "log of writes", "network"]
    assert breaks_first(need, LIMITS) == "memory of kept outcomes"
    assert shards(need, LIMITS) == 9  # 86.4 GB, ten on each
    busy = needed(COST, load(calls=864e6, hours=0.01))
    assert breaks_first(busy, LIMITS) == "the server's core"
    assert shards(busy, LIMITS) == 2
    assert producers(busy, LIMITS) == 4


def test_little_needs_one_server_and_one_producer() -> None:
    need = needed(COST, load(calls=1_000))
    assert (shards(need, LIMITS), producers(need, LIMITS)) == (1, 1)


def test_one_server_bears_what_needs_exactly_one() -> None:
    most = most_calls_per_day(COST, LIMITS, peak=2, kept_hours=24)
    assert most == pytest.approx(10e6)
    need = needed(COST, load(calls=most, hours=24))
    assert max(shares(need, LIMITS).values()) == pytest.approx(1)


def test_due_jobs_come_back_between_the_pauses_of_the_sweeper() -> None:
    assert UPKEEP.due_rate(10_000, 1) == pytest.approx(10_000 / 3)
    assert UPKEEP.lost_rate(10_000, 6) == pytest.approx(1_000)
    assert UPKEEP.per_gigabyte(UPKEEP.replay_seconds) == pytest.approx(8)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.title)
def test_jobs_and_wake_ups_have_the_shape_that_is_named(shape) -> None:
    jobs = make_jobs(shape, 2 * shape.accepted_together, producer="p")
    assert {len(job.calls) for job in jobs} == {shape.calls}
    messages = messages_for(jobs[: shape.accepted_together], shape.woken_together)
    assert [message.last - message.first + 1 for message in messages] == [shape.woken_together] * (
        shape.accepted_together // shape.woken_together
    )
    named = [json.loads(message.text)["headers"]["id"] for message in messages]
    assert named == [jobs[message.first].id for message in messages]


@pytest.mark.parametrize(
    ("value", "text"), [(72.4, "72 B"), (990, "990 B"), (4_150, "4.15 KB"), (28.6e9, "28.6 GB"), (1.67e12, "1.67 TB")]
)
def test_bytes_are_written_for_people(value: float, text: str) -> None:
    assert report.write_bytes(value) == text


class TestReport:
    MADE = report.tables({"separate": COST}, UPKEEP, LIMITS, 86.4e6)

    def test_the_pages_tables_say_what_was_worked_out(self) -> None:
        lines = report.markdown(self.MADE, [report.assumptions(LIMITS), "one machine"]).splitlines()
        assert (lines[0], lines[-1], lines[-2]) == (*report.MARKERS, "one machine")
        assert "| separate | 1.5 KB | 1 KB | 50 µs | 4 | 40 | 3 KB | 4 KB | 100 µs |" in lines
        assert "| separate | 3 × | 24 h | 86.4 GB | 0.15 | 9 MB | 12 MB | 9 | memory of kept outcomes | 1 |" in lines
        assert "| data that the next four were measured on | 500 MB |" in lines
        assert "| a restart, the log as it was written | 8.0 s a GB |" in lines
        assert "| delayed, retried and lost jobs that come back, at most | 3,333/s |" in lines
        assert "| jobs that come back where a broker has lost all messages, at most | 1,000/s |" in lines
        assert any("holds 10 GB of data" in line and "50% of its core" in line for line in lines)

    def test_the_screen_has_the_same(self) -> None:
        screen = Console(file=io.StringIO(), width=200)
        report.show(screen, self.MADE)
        assert "memory of kept outcomes" in screen.file.getvalue()
        assert "what 86,400,000 calls a day need" in screen.file.getvalue()

    def test_data_has_every_load_with_its_servers(self) -> None:
        data = report.as_data({"separate": COST}, UPKEEP, LIMITS, 86.4e6)
        assert data["costs"]["separate"]["log_bytes"] == 4_000
        assert [(need["peak"], need["kept_hours"], need["servers"]) for need in data["needs"]] == [
            (3, 1, 2), (3, 24, 9), (10, 1, 4), (10, 24, 9),
        ]  # fmt: skip
        json.dumps(data)
