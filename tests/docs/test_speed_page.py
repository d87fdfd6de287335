"""What README and docs/speed.md say of speed is what the committed run measured."""

import json
from pathlib import Path

from benchmarks.calls import overview, report

ROOT = Path(__file__).resolve().parents[2]
RUN = json.loads((ROOT / "benchmarks/calls/results/2026-11-26.json").read_text(encoding="utf-8"))


def between(page: str, markers: tuple[str, str]) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    start, end = text.index(markers[0]), text.index(markers[1]) + len(markers[1])
    return text[start:end]


def test_the_readmes_table_is_the_overview_of_the_committed_run() -> None:
    assert between("README.md", overview.MARKERS) == overview.overview(RUN["medians"])


def test_the_page_has_every_figure_of_that_run_and_whether_it_held() -> None:
    tables = between("docs/speed.md", report.MARKERS)
    for figure in RUN["figures"]:
        assert f"| {figure['measure']} |" in tables
    assert tables.count("| no |") == sum(figure["held"] is False for figure in RUN["figures"])


def test_a_work_that_nobody_did_has_no_row() -> None:
    only_map = [median for median in RUN["medians"] if median["work"] == "map"]
    assert "at a time" not in overview.overview(only_map)
