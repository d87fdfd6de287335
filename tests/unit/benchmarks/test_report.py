"""Figures, what was promised of them, and how they are written."""

import pytest
from rich.console import Console

from benchmarks.selection import figures
from benchmarks.selection.figures import TARGETS, Figure, share_figure
from benchmarks.selection.report import as_data, markdown, show, summarise
from benchmarks.values import Target, Unit, write_target, write_value
from dispatcher.selection.measures import Share


@pytest.fixture(autouse=True)
def promises(monkeypatch):
    monkeypatch.setattr(
        figures,
        "TARGETS",
        {
            ("tea", figures.FULL, figures.ACCURACY): Target(at_least=0.9, baseline="80 %"),
            ("tea", figures.FULL, figures.ECE): Target(at_most=0.02),
        },
    )


def accuracy(hits, data="tea"):
    return share_figure(data, figures.FULL, figures.ACCURACY, Share(hits=hits, rows=100))


@pytest.mark.parametrize(("hits", "reached"), [(89, False), (90, True), (100, True)])
def test_a_share_reaches_its_target_or_not(hits, reached) -> None:
    assert accuracy(hits).reached is reached


def test_of_other_data_nothing_was_promised() -> None:
    figure = accuracy(10, data="coffee")
    assert figure.target is None
    assert figure.reached is None
    assert summarise([figure]) == "no target is known for this data"


def test_a_share_of_no_rows_has_no_value() -> None:
    figure = share_figure("tea", figures.FULL, figures.ACCURACY, Share(hits=0, rows=0))
    assert (figure.value, figure.interval, figure.reached) == (None, None, None)
    assert write_value(figure.value, figure.unit) == "–"  # noqa: RUF001


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.9654, Unit.SHARE, "96.5 %"),
        (-0.013, Unit.POINTS, "-1.3 points"),
        (0.0178, Unit.ERROR, "0.018"),
        (67_400_000, Unit.BYTES, "67 MB"),
        (0.000_008_8, Unit.SECONDS, "8.8 µs"),
        (0.000_332, Unit.SECONDS, "0.332 ms"),
        (0.0133, Unit.SECONDS, "13.3 ms"),
        (11.04, Unit.SECONDS, "11.0 s"),
    ],
)
def test_values_are_written_for_people(value, unit, text) -> None:
    assert write_value(value, unit) == text


def test_targets_are_written_with_their_bounds() -> None:
    assert write_target(Target(at_least=0.9), Unit.SHARE) == "≥ 90.0 %"
    assert write_target(Target(at_most=0.00015), Unit.SECONDS) == "≤ 0.15 ms"
    assert write_target(None, Unit.SHARE) == ""


def test_every_promise_is_about_something_that_is_measured() -> None:
    measures = {value for name, value in vars(figures).items() if name.isupper() and isinstance(value, str)}
    assert {measure for _, _, measure in TARGETS} <= measures


def test_the_tables_say_what_is_reached() -> None:
    screen = Console(width=150, record=True, file=None, quiet=False)
    with screen.capture() as capture:
        show(screen, [accuracy(95), accuracy(50, data="coffee")], {"tea": "intents", "coffee": "tools"})
    text = capture.get()
    assert "tea (intents)" in text
    assert "coffee (tools)" in text
    row = next(line for line in text.splitlines() if "95.0 %" in line)
    assert "≥ 90.0 %" in row
    assert row.rstrip().endswith("yes")
    assert summarise([accuracy(95), accuracy(10), accuracy(10, "coffee")]) == "1 of 2 targets reached"


def test_the_table_of_the_docs_stands_between_its_markers() -> None:
    error = Figure(data="tea", run=figures.FULL, measure=figures.ECE, value=0.05, unit=Unit.ERROR, rows=100)
    lines = markdown([accuracy(95), error], "python 3").splitlines()
    assert lines[0] == "<!-- bench-selection -->"
    assert lines[-1] == "<!-- /bench-selection -->"
    assert lines[3] == f"| tea | {figures.FULL} | {figures.ACCURACY} | **95.0 %** | 80 % | ≥ 90.0 % | yes |"
    assert lines[4].endswith("| **0.050** |  | ≤ 0.020 | no |")
    assert "python 3" in lines


def test_figures_are_data_too() -> None:
    data = as_data(accuracy(95))
    assert data["value"] == 0.95
    assert data["target"] == {"at_least": 0.9, "at_most": None, "before": "80 %"}
    assert data["reached"] is True
    assert as_data(accuracy(95, "coffee"))["target"] is None
