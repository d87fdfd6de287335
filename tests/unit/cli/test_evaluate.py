"""`dispatcher evaluate`, and the pictures it draws."""

import json
import re
import sys
from pathlib import Path

import pytest

from dispatcher.cli import pictures
from dispatcher.errors import SettingsError
from dispatcher.extras import install_command

GOOD = [
    {"text": "a price please", "label": "price"},
    {"text": "send a mail", "function": "mail.send"},
    {"text": "a price please", "label": ["mail.send", "price"]},
    {"text": "zzz", "label": None},
    {"text": "qqq", "label": "oos"},
    {"text": "sing", "label": "", "source": "a data set"},
]


@pytest.fixture
def rows(folder):
    def write(*lines: object, name: str = "rows.jsonl") -> str:
        texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
        (folder / name).write_text("\n".join(texts) + "\n", encoding="utf-8")
        return name

    return write


def test_the_tables_say_how_good_the_selector_is(run, rows) -> None:
    ran = run("evaluate", rows(*GOOD), "--app", "shop")
    assert ran.code == 0
    assert ran.out.startswith("6 rows: 3 in scope, 3 out of scope")
    for words in ("first candidate is right", "95 % interval", "abstains, out of scope", "AUROC", "calibration error"):
        assert words in ran.out
    assert "latency p50, p95, p99" in ran.out
    assert "act" in ran.out
    assert ran.err == ""


def test_json_is_one_object_with_every_number(run, rows) -> None:
    data = run("evaluate", rows(*GOOD), "--app", "shop", "--json").data
    assert data["file"] == "rows.jsonl"
    assert (data["rows"], data["skipped"]) == (6, 0)
    assert data["in_scope"]["accuracy"] == {
        "value": 1.0, "low": pytest.approx(0.438503), "high": 1.0, "hits": 3, "rows": 3,
    }  # fmt: skip
    assert data["in_scope"]["recall_at"]["1"]["value"] == 1
    assert data["out_of_scope"]["recall"]["value"] == 1
    assert data["out_of_scope"]["decisions"] == {"act": 0, "several": 0, "ask": 0, "abstain": 3}
    assert data["precision_of_calls"]["rows"] == 3
    assert data["scope"]["roc"][0]["threshold"] is None
    assert len(data["calibration"]["bins"]) == len(data["calibration_given_scope"]["bins"]) == 15
    assert data["latency_ms"]["p50"] <= data["latency_ms"]["p99"]
    assert [entry["function"] for entry in data["functions"]] == ["mail.send", "price", None]
    assert data["confusions"] == []
    assert "pictures" not in data


def test_a_wrong_guess_is_shown_as_a_confusion(run, rows) -> None:
    name = rows({"text": "a price please", "label": "mail.send"}, {"text": "a price please", "label": None})
    ran = run("evaluate", name, "--app", "shop")
    assert "Most confused" in ran.out
    assert "Least well told" in ran.out
    assert "(no function)" in ran.out
    data = run("evaluate", name, "--app", "shop", "--json").data
    assert data["confusions"] == [
        {"expected": "mail.send", "predicted": "price", "rows": 1},
        {"expected": None, "predicted": "price", "rows": 1},
    ]


def test_without_a_selector_of_its_own_a_registry_gets_the_keyword_one(run, rows, folder) -> None:
    (folder / "bare.py").write_text("from shop import registry\n")
    assert run("evaluate", rows(*GOOD), "--app", "bare", "--json").data["in_scope"]["accuracy"]["value"] == 1


def test_progress_is_shown_only_when_it_takes_long() -> None:
    from rich.progress import Progress

    from dispatcher.cli.evaluate import _stepper
    from dispatcher.testing import FakeClock

    clock, bar = FakeClock(), Progress(disable=True)
    step = _stepper(bar, bar.add_task("selecting", total=2, visible=False), clock)
    step()
    assert (bar.tasks[0].completed, bar.tasks[0].visible) == (1, False)
    clock.advance(2)
    step()
    assert (bar.tasks[0].completed, bar.tasks[0].visible) == (2, True)


def test_the_limit_counts_rows(run, rows) -> None:
    assert run("evaluate", rows(*GOOD), "--app", "shop", "--limit", "4", "--json").data["rows"] == 4


def test_a_limit_stops_before_rows_that_cannot_be_read(run, rows) -> None:
    assert run("evaluate", rows(*GOOD, "{"), "--app", "shop", "--limit", "6", "--json").data["rows"] == 6


def test_line_separators_inside_a_text_and_a_byte_order_mark_are_no_trouble(run, rows, folder) -> None:
    name = rows({"text": "a price\u2028please", "label": "price"}, "", {"text": "价格", "label": None})
    (folder / name).write_text("\ufeff" + (folder / name).read_text("utf-8"), "utf-8")
    assert run("evaluate", name, "--app", "shop", "--json").data["rows"] == 2


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 2: no JSON: Expecting property name"),
        ("[" * 100_000, "line 2: "),
        ("[1]", 'line 2: a row is an object with a "text" and a "label"'),
        ({"label": "price"}, 'line 2: no "text"'),
        ({"text": 7, "label": "price"}, 'line 2: "text" is no text'),
        ({"text": "x"}, 'line 2: no "label"; write null where no function fits'),
        ({"text": "x", "label": 7}, "line 2: a label is a function's name, a list of names, or null"),
        ({"text": "x", "label": ["price", None]}, "line 2: a label is a function's name"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line_and_refused_with_code_2(run, rows, line, problem) -> None:
    ran = run("evaluate", rows(GOOD[0], line), "--app", "shop")
    assert ran.code == 2
    assert ran.out == ""
    assert ran.words.startswith("error: rows.jsonl: 1 row cannot be judged; --skip-bad leaves them out")
    assert problem in ran.words


def test_unknown_labels_are_listed_together_the_most_frequent_first(run, rows) -> None:
    unknown = [{"text": "x", "label": label} for label in ("tea", "milk", "milk")]
    ran = run("evaluate", rows(GOOD[0], *unknown), "--app", "shop", "--json")
    assert ran.code == 2
    assert (
        "labels that are not registered: 'milk' (2 rows, first in line 3), 'tea' (1 row, first in line 2)" in ran.words
    )
    assert ran.data["error"]["code"] == "rows"


def test_many_bad_rows_are_not_all_listed(run, rows) -> None:
    ran = run("evaluate", rows(*["{"] * 50, *({"text": "x", "label": f"f{n}"} for n in range(12))), "--app", "shop")
    assert "62 rows cannot be judged" in ran.words
    assert "line 10: " in ran.words
    assert "line 11: " not in ran.words
    assert "and 40 more lines" in ran.words
    assert "and 2 more" in ran.words


def test_bad_rows_can_be_left_out_and_that_is_said(run, rows) -> None:
    ran = run("evaluate", rows(*GOOD, "{", {"text": "x", "label": "tea"}), "--app", "shop", "--skip-bad", "--json")
    assert ran.code == 0
    assert (ran.data["rows"], ran.data["skipped"]) == (6, 2)
    assert ran.words.startswith("left out of rows.jsonl: 2 line 7: no JSON")


def test_a_file_with_nothing_to_judge_is_refused(run, rows) -> None:
    assert run("evaluate", rows(""), "--app", "shop").words == "error: rows.jsonl holds no row"
    ran = run("evaluate", rows("{"), "--app", "shop", "--skip-bad")
    assert (ran.code, ran.words) == (2, "error: rows.jsonl holds no row that can be judged")


def test_a_file_that_cannot_be_read_is_refused(run, folder) -> None:
    ran = run("evaluate", "none.jsonl", "--app", "shop")
    assert (ran.code, ran.words) == (2, "error: cannot read none.jsonl: No such file or directory")
    (folder / "latin.jsonl").write_bytes(b'{"text": "caf\xe9"}')
    assert "cannot read latin.jsonl: it is not UTF-8" in run("evaluate", "latin.jsonl", "--app", "shop").words


def test_oos_is_a_label_where_a_function_is_called_so(run, rows, folder) -> None:
    (folder / "odd.py").write_text(
        "from dispatcher import Registry\nregistry = Registry()\n"
        "@registry.function(aliases=['stock'])\ndef oos() -> None:\n    'Say what is out of stock.'\n"
    )
    data = run(
        "evaluate",
        rows({"text": "stock", "label": "oos"}, {"text": "stock", "label": "stock"}, {"text": "x", "label": []}),
        "--app", "odd", "--json",
    ).data  # fmt: skip
    assert (data["in_scope"]["rows"], data["out_of_scope"]["rows"]) == (2, 1)
    assert data["functions"][0]["function"] == "oos"


def test_pictures_are_drawn_into_a_folder_that_need_not_be_there(run, rows, folder) -> None:
    ran = run("evaluate", rows(*GOOD), "--app", "shop", "--plots", "new/pictures", "--json")
    assert ran.code == 0
    names = ["reliability.png", "confusion.png", "roc.png"]
    assert ran.data["pictures"] == [f"new/pictures/{name}" for name in names]
    for name in names:
        assert (folder / "new/pictures" / name).read_bytes().startswith(b"\x89PNG")
    assert "drawn: new/pictures/roc.png" in ran.err


def test_without_rows_out_of_scope_there_is_no_roc_curve_to_draw(run, rows, folder) -> None:
    ran = run("evaluate", rows(GOOD[0]), "--app", "shop", "--plots", "pictures")
    assert ran.code == 0
    assert "needs rows in scope and out of scope" in ran.out
    assert sorted(path.name for path in (folder / "pictures").iterdir()) == ["confusion.png", "reliability.png"]


def test_a_folder_that_cannot_be_written_to_is_an_error(run, rows, folder) -> None:
    (folder / "taken").write_text("a file")
    ran = run("evaluate", rows(*GOOD), "--app", "shop", "--plots", "taken")
    assert ran.code == 1
    assert ran.words.startswith("error: cannot write taken/reliability.png: ")


def test_without_matplotlib_pictures_are_refused_before_the_work(run, rows, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ran = run("evaluate", rows(*GOOD), "--app", "shop", "--plots", "pictures")
    assert (ran.code, ran.out) == (1, "")
    assert ran.words == f"error: pictures need matplotlib; install it with: {install_command('plots')}"
    assert run("evaluate", rows(*GOOD), "--app", "shop").code == 0


def test_learning_curves_are_drawn_for_each_model(tmp_path, monkeypatch) -> None:
    history = {
        "linear": [{"epoch": n, "train_loss": 1 / n, "valid_loss": 1.2 / n} for n in range(1, 30)],
        "gate": [{"epoch": 1, "train_loss": 0.5}],
        "empty": [],
    }
    pictures.plot_learning_curves(history, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    pictures.plot_learning_curves({}, tmp_path / "none.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SettingsError, match=re.escape(install_command("plots"))):
        pictures.plot_learning_curves(history, tmp_path / "curves.png")


def test_of_many_classes_a_matrix_shows_the_most_confused(tmp_path) -> None:
    from dispatcher.selection.evaluation import Judged, summarise
    from dispatcher.selection.selection import Decision

    def row(expected: str, predicted: str) -> Judged:
        return Judged(
            text="", expected=expected, ranked=(predicted,), probabilities=(0.5,), decision=Decision.ACT,
            calls=(predicted,),
        )  # fmt: skip

    names = [f"a_function_with_quite_a_long_name_{n:02}" for n in range(40)]
    evaluation = summarise([*(row(name, name) for name in names), row(names[38], names[39])])
    shown = pictures._most_confused(evaluation)
    assert len(shown) == pictures.MAX_CLASSES
    assert shown[-2:] == names[38:]
    counts, shades = pictures._matrix(evaluation, shown)
    assert counts[-2][-2:] == [1, 1]
    assert shades[-2][-2:] == [0.5, 0.5]
    assert len(pictures._shorten(names[0])) == 32
    pictures.plot_confusion(evaluation, tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").exists()


def test_the_sample_of_the_repository_can_be_evaluated(run, monkeypatch) -> None:
    root = Path(__file__).parents[3]
    monkeypatch.chdir(root)
    data = run("evaluate", "examples/selection.jsonl", "--app", "tasks:registry", "--untrained", "--json").data
    inside, outside = data["in_scope"]["rows"], data["out_of_scope"]["rows"]
    assert inside + outside >= 150
    assert 0.2 < outside / (inside + outside) < 0.3
    from tasks import registry

    assert {entry["function"] for entry in data["functions"] if entry["recall"]["rows"]} >= set(registry.names)
    # Fresh sentences: none that the functions, or the demo, bring along.
    known = {json.loads(line)["text"] for line in Path("examples/requests.jsonl").read_text("utf-8").splitlines()}
    known |= {example for function in registry for example in function.options.examples}
    texts = [json.loads(line)["text"] for line in Path("examples/selection.jsonl").read_text("utf-8").splitlines()]
    assert known.isdisjoint(texts)
    assert len(set(texts)) == len(texts)


def test_one_row_is_a_row(run, rows) -> None:
    assert run("evaluate", rows(GOOD[0]), "--app", "shop").out.startswith("1 row: ")
