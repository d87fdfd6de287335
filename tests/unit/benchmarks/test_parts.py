"""What is measured, on made-up data of a few rows: by words alone, so that no encoder is needed."""

import json
import logging

import pytest
from typer.testing import CliRunner

from benchmarks.selection import figures
from benchmarks.selection.__main__ import app
from benchmarks.selection.bench import Bench, Sizes, first_of_each, spread
from benchmarks.selection.descriptions import measure_schemas, measure_tools
from benchmarks.selection.functions import register
from benchmarks.selection.growth import grow, make_up
from benchmarks.selection.intents import measure_intents
from benchmarks.selection.kinds import Intents, Request, Row, Schemas, Spec, Tools
from benchmarks.selection.speed import measure_speed
from benchmarks.selection.stopwatch import WARM_UP, Stopwatch, time_each
from dispatcher.clock import SystemClock
from tests.unit.selection.making import make_meaning

TOOLS = (
    Spec(name="Umbrella", description="Says whether it will rain, snow or hail tomorrow."),
    Spec(name="Teapot", description="Brews a cup of black or green tea."),
    Spec(name="Cinema", description="Sells tickets for a film tonight."),
)
QUERIES = (
    Row(text="will it rain tomorrow", label="Umbrella"),
    Row(text="brew a cup of green tea", label="Teapot"),
    Row(text="two tickets for the film", label="Cinema"),
)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(Bench, "meaning", None)
    return Bench(sizes=Sizes(timed=30), vectors=tmp_path, clock=SystemClock(), note=lambda _: None)


def values(bench, run):
    return {figure.measure: figure.value for figure in bench.figures if figure.run == run}


def test_tools_are_found_by_their_descriptions_and_learnt_in_order(bench) -> None:
    measure_tools(bench, Tools(name="shop", tools=TOOLS, queries=QUERIES * 4))
    assert values(bench, figures.DESCRIPTIONS_WORDS)[figures.FIRST] == 1.0
    learnt = values(bench, figures.TOLD_WORDS)
    assert learnt[figures.LAST] == 1.0
    assert learnt[figures.LEARN] > 0
    rows = next(figure.rows for figure in bench.figures if figure.measure == figures.LAST)
    assert rows == 8, "two thirds of twelve"


def test_a_request_for_a_tool_that_there_is_not_is_left_out(bench) -> None:
    measure_tools(bench, Tools(name="shop", tools=TOOLS, queries=(*QUERIES, Row(text="a car", label="Garage"))))
    assert {figure.rows for figure in bench.figures if figure.measure == figures.FIRST} == {3}


def test_where_there_is_too_little_to_learn_nothing_is_timed(bench) -> None:
    measure_tools(bench, Tools(name="shop", tools=TOOLS, queries=QUERIES[:1]))
    assert values(bench, figures.TOLD_WORDS) == {figures.LAST: None}


def test_functions_are_found_among_all_and_among_those_that_are_offered(bench) -> None:
    requests = [
        Request(
            text=row.text, category="multiple", offered=("Umbrella", "Teapot", "Cinema"), right=frozenset({row.label})
        )
        for row in QUERIES
    ]
    # The right one is none of the two: what is offered decides, not what would fit best.
    wrong = Request(
        text="a cup of tea", category="multiple", offered=("Umbrella", "Cinema"), right=frozenset({"Teapot"})
    )
    nothing = Request(text="qwertz", category="irrelevance", offered=("Teapot",), right=frozenset())
    measure_schemas(bench, Schemas(name="api", functions=TOOLS, requests=(*requests, wrong, nothing)))
    among_all = values(bench, figures.DESCRIPTIONS_WORDS)
    assert among_all[figures.FIRST] == 1.0
    assert among_all[figures.REFUSED] == 1.0
    assert values(bench, figures.OFFERED)[figures.FIRST] == 0.75


def test_intents_are_trained_and_tested_apart(bench) -> None:
    def rows(*words, label):
        return tuple(
            Row(text=f"{before} {word}".strip(), label=label) for before in ("", "please", "now") for word in words
        )

    train = (
        *rows("brew tea", "a cup of tea", "more tea", label="tea"),
        *rows("will it rain", "rain tomorrow", "is rain coming", label="weather"),
    )
    test = (Row(text="tea for me", label="tea"), Row(text="rain again", label="weather"), Row(text="xyz", label=None))
    measure_intents(bench, Intents(name="drinks", train=train, valid=train[::3], test=test, few={}))
    found = values(bench, figures.FULL_WORDS)
    assert found[figures.ACCURACY] == 1.0
    assert found.keys() >= {figures.KEPT, figures.REFUSED, figures.ASKED_INSIDE, figures.AUROC, figures.ECE}
    assert ("drinks", figures.FULL_WORDS) in bench.models


def test_what_is_tuned_on_is_learnt_from_beside_all_the_others_but_few_examples_stay_few(bench, monkeypatch) -> None:
    monkeypatch.setattr(Bench, "meaning", make_meaning())
    monkeypatch.setattr(Bench, "meaning_with_e5", None)
    train = tuple(Row(text=f"{word} {n}", label=word) for word in ("tea", "rain") for n in ("one", "two", "three"))
    valid = tuple(Row(text=f"{word} please", label=word) for word in ("tea", "rain"))
    measure_intents(bench, Intents(name="drinks", train=train, valid=valid, test=valid, few={1: train[::3]}))
    learnt = {run: model.calls.sum() for (_, run), model in bench.models.items()}
    assert learnt == {figures.FULL_WORDS: 8, figures.FULL: 8, figures.few(1): 2, figures.few_alone(1): 2}


def test_few_examples_are_learnt_from_once_more_where_e5_is_installed(bench, monkeypatch) -> None:
    monkeypatch.setattr(Bench, "meaning", make_meaning(48))
    monkeypatch.setattr(Bench, "meaning_with_e5", make_meaning(72))
    rows = tuple(Row(text=f"{word} please", label=word) for word in ("tea", "rain"))
    measure_intents(bench, Intents(name="drinks", train=rows, valid=rows, test=rows, few={1: rows}))
    again = figures.beside_e5(figures.few(1))
    widths = {run: model.head.shape[1] for (_, run), model in bench.models.items()}
    assert {run: width for run, width in widths.items() if width == 72} == {again: 72}
    assert values(bench, again)[figures.ACCURACY] == 1.0


def test_speed_is_measured_on_made_up_functions_where_no_data_has_intents(bench) -> None:
    measure_speed(bench, [Tools(name="shop", tools=TOOLS, queries=QUERIES)])
    for run in (figures.FAST_TIERS, figures.CACHE_HIT, figures.FEEDBACK_WORDS):
        assert values(bench, run).keys() == {figures.P50, figures.P95, figures.CPU_P50}
    assert values(bench, figures.CACHE_HIT)[figures.P50] < values(bench, figures.FAST_TIERS)[figures.P50]


def test_made_up_functions_differ_and_come_out_the_same_each_time() -> None:
    specs, texts = make_up(500, seed=3)
    assert (specs, texts) == make_up(500, seed=3)
    assert len({spec.name for spec in specs}) == len(set(texts)) == 500
    assert set(register(specs).names.values()) == {spec.name for spec in specs}, "the names are valid as they are"


def test_growth_is_measured_and_what_is_asked_for_is_found() -> None:
    grown = grow(functions=60, requests=40)
    assert grown.functions == 60
    assert grown.found.rows == 40
    assert grown.found.hits > 20
    assert grown.timing.p50 > 0


def test_what_warms_up_is_not_timed() -> None:
    called = []
    assert time_each(called.append, range(WARM_UP + 5)).calls == 5
    assert called == list(range(WARM_UP + 5))
    few = time_each(called.append, range(3))
    assert few.calls == 3, "of few calls all are timed"


def test_a_stopwatch_gives_the_middle() -> None:
    watch = Stopwatch()
    for _ in range(9):
        watch.time(lambda: None)
    timing = watch.timing()
    assert 0 < timing.p50 <= timing.p95 < 0.1
    assert timing.calls == 9


def test_samples_come_from_everywhere() -> None:
    assert spread(list(range(10)), 5) == [0, 2, 4, 6, 8]
    assert spread(list(range(3)), 5) == [0, 1, 2]
    rows = [Row(text=str(i), label=label) for i, label in enumerate("aabab")]
    assert [row.text for row in first_of_each(rows, 2)] == ["0", "1", "2", "4"]


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(Bench, "meaning", None)
    before = logging.getLogger("dispatcher").level
    yield lambda *words: CliRunner().invoke(app, list(map(str, words)))
    logging.getLogger("dispatcher").setLevel(before)


@pytest.fixture
def data(tmp_path):
    shop = tmp_path / "data" / "shop"
    shop.mkdir(parents=True)
    tools = [{"name": tool.name, "description": tool.description} for tool in TOOLS]
    queries = [{"text": row.text, "label": row.label} for row in QUERIES]
    for name, rows in (("tools", tools), ("queries", queries)):
        (shop / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "data"


def test_the_command_writes_tables_and_numbers(run, data, tmp_path) -> None:
    ran = run("--data", data, "--only", "shop", "--json", tmp_path / "out.json", "--vectors", tmp_path / "vectors")
    assert ran.exit_code == 0, ran.stderr
    assert "shop (tools)" in ran.stdout
    assert "no target is known for this data" in ran.stdout
    written = json.loads((tmp_path / "out.json").read_text())
    assert {figure["data"] for figure in written["figures"]} == {"shop"}
    assert written["machine"]["python"]
    assert written["seconds"]["shop"] > 0


def test_the_command_writes_the_table_of_the_docs(run, data, tmp_path) -> None:
    ran = run("--data", data, "--only", "shop", "--markdown", "--vectors", tmp_path / "vectors")
    assert ran.stdout.startswith("<!-- bench-selection -->\n| data |")
    assert ran.stdout.endswith("<!-- /bench-selection -->\n")


def test_a_folder_that_is_not_there_is_said_in_words(run, tmp_path) -> None:
    ran = run("--data", tmp_path / "nowhere")
    assert ran.exit_code == 2
    assert "DISPATCHER_BENCH_DATA" in ran.stderr
    assert ran.stdout == ""


def test_a_part_that_there_is_not_is_named_beside_those_that_there_are(run, data) -> None:
    ran = run("--data", data, "--only", "coffee")
    assert ran.exit_code == 2
    assert "'coffee'" in ran.stderr
    assert "shop, speed, growth" in ran.stderr
