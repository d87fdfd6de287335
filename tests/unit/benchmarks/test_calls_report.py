"""How the figures of calls are written."""

import io

import pytest
from rich.console import Console

from benchmarks.calls import figures
from benchmarks.calls.contestants import CELERY, OURS
from benchmarks.calls.cpu import Split
from benchmarks.calls.figures import Figure
from benchmarks.calls.report import (
    MARKERS,
    figure_as_data,
    markdown,
    median_as_data,
    show_figures,
    show_medians,
    summarise,
)
from benchmarks.calls.runs import Median, Run
from benchmarks.values import Unit, write_value

KEPT = Figure(work=figures.CACHE, measure=figures.P50, value=0.0002, unit=Unit.SECONDS)
BROKEN = Figure(work=figures.MAP, measure=figures.AGAINST_CELERY, value=3.5, unit=Unit.RATIO, note="celery 400/s")
UNKNOWN = Figure(work=figures.MAP, measure="rate", value=1400.0, unit=Unit.RATE)
MISSING = Figure(work=figures.IN_FLIGHT, measure=figures.TIME, value=None, unit=Unit.SECONDS, note="no pool")
FIGURES = [KEPT, BROKEN, UNKNOWN, MISSING]


def median(name, cpu):
    split = Split(producer=cpu / 4, worker=cpu / 2, server=cpu / 4)
    return Median(
        contestant=name,
        work=figures.SINGLE,
        calls=300,
        rounds=3,
        seconds=0.6,
        rate=500,
        cpu=split,
        p50=0.002,
        p99=0.004,
    )


MEDIANS = [median(OURS, 0.0008), median(CELERY, 0.0032)]


def test_each_line_says_whether_its_target_is_held() -> None:
    assert [figure.held for figure in FIGURES] == [True, False, None, None]
    assert summarise(FIGURES) == "1 of 2 targets held"
    assert summarise([UNKNOWN]) == "no target was measured"


def test_the_readmes_table_has_everybody_and_every_target() -> None:
    table = markdown(MEDIANS, FIGURES, "one machine")
    lines = table.splitlines()
    assert (lines[0], lines[-1], lines[-2]) == (MARKERS[0], MARKERS[1], "one machine")
    assert "| celery | 300 | 600 ms | 500/s | 2 ms | 4 ms | 800 µs | 1,600 µs | 800 µs | 3,200 µs |" in lines
    assert "| no-op calls by map | against Celery | 3.5 × | ≥ 40 × | no | celery 400/s |" in lines
    assert "| result cache hit | p50 | 0.2 ms | ≤ 0.3 ms | yes |  |" in lines


def test_the_screen_says_how_much_more_others_cost() -> None:
    screen = Console(file=io.StringIO(), width=200)
    show_medians(screen, MEDIANS)
    show_figures(screen, FIGURES)
    shown = screen.file.getvalue()
    assert next(line for line in shown.splitlines() if line.startswith("celery")).split()[-1] == "4"
    assert "no pool" in shown


def test_data_keeps_numbers_and_targets() -> None:
    assert figure_as_data(BROKEN)["target"] == {"at_least": 40, "at_most": None}
    assert figure_as_data(UNKNOWN)["target"] is None
    assert median_as_data(MEDIANS[0])["cpu_us_per_call"] == {
        "producer": 200,
        "worker": 400,
        "server": 200,
        "total": 800,
    }


def test_a_runs_data_has_every_latency() -> None:
    split = Split(producer=0.001, worker=0.002, server=0.003)
    run = Run(contestant=OURS, work="single", calls=2, seconds=0.5, cpu=split, latencies=[0.001, 0.0025])
    data = run.as_data()
    assert data["latencies_us"] == [1000, 2500]
    assert data["cpu_us_per_call"] == {"producer": 500, "worker": 1000, "server": 1500}


@pytest.mark.parametrize(
    ("value", "unit", "text"), [(1614.4, Unit.RATE, "1,614/s"), (40.25, Unit.RATIO, "40.2 ×"), (3.0, Unit.COUNT, "3")]
)
def test_rates_ratios_and_counts_are_written_for_people(value, unit, text) -> None:
    assert write_value(value, unit) == text
