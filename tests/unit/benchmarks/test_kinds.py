"""Which kind a data set is of shows in its files, and what is read of it."""

import json

import pytest

from benchmarks.selection.kinds import (
    DataError,
    Intents,
    Languages,
    Request,
    Row,
    Schemas,
    Spec,
    Tools,
    find_sets,
    read_set,
)

TEA = {"text": "a cup of tea", "label": "order/tea"}
RAIN = {"text": "will it rain", "label": "weather/find"}
ODD = {"text": "asdf", "label": "oos"}


@pytest.fixture
def write(tmp_path):
    """Writes files of rows into a folder, and gives the folder."""

    def write(name, **files):
        folder = tmp_path / name
        folder.mkdir()
        for file, rows in files.items():
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / f"{file.replace('__', '.')}.jsonl").write_text(lines, encoding="utf-8")
        return folder

    return write


@pytest.mark.parametrize("valid", ["val", "valid"])
def test_a_split_for_training_and_testing_makes_intents(write, valid) -> None:
    folder = write("drinks", train=[TEA, RAIN], **{valid: [RAIN]}, test=[TEA])
    assert read_set(folder) == Intents(
        name="drinks",
        train=(Row(text="a cup of tea", label="order/tea"), Row(text="will it rain", label="weather/find")),
        valid=(Row(text="will it rain", label="weather/find"),),
        test=(Row(text="a cup of tea", label="order/tea"),),
        few={},
    )


def test_texts_out_of_scope_join_their_split_without_a_label(write) -> None:
    folder = write(
        "drinks", train=[TEA], val=[TEA], test=[TEA], oos_train=[ODD], oos_val=[ODD, ODD], oos_test=[ODD], train_1=[TEA]
    )
    found = read_set(folder)
    assert isinstance(found, Intents)
    assert [row.label for row in found.train] == ["order/tea", None]
    assert [row.label for row in found.valid] == ["order/tea", None, None]
    assert [row.label for row in found.test] == ["order/tea", None]
    assert found.labels == ("order/tea",)


def test_smaller_training_sets_are_told_by_their_number(write) -> None:
    found = read_set(
        write("drinks", train=[TEA], val=[TEA], test=[TEA], train_10=[TEA], train_5=[RAIN], train_all=[ODD])
    )
    assert isinstance(found, Intents)
    assert {count: [row.label for row in rows] for count, rows in found.few.items()} == {
        5: ["weather/find"],
        10: ["order/tea"],
    }


def test_the_same_in_several_languages_is_learnt_from_english(write) -> None:
    found = read_set(
        write("talk", de__valid=[RAIN], de__test=[RAIN], en__valid=[TEA], en__test=[TEA], zh__valid=[RAIN])
    )
    assert isinstance(found, Languages)
    assert found.learnt == "en"
    assert [row.text for row in found.train] == ["a cup of tea"]
    assert found.tests.keys() == {"de", "en"}
    assert found.labels == ("order/tea", "weather/find")


def test_tools_are_known_by_their_descriptions(write) -> None:
    found = read_set(write("shop", tools=[{"name": "Tea&More", "description": "Brews."}], queries=[TEA]))
    assert found == Tools(
        name="shop",
        tools=(Spec(name="Tea&More", description="Brews."),),
        queries=(Row(text="a cup of tea", label="order/tea"),),
    )


def test_functions_with_parameters_make_schemas(write) -> None:
    parameters = {"type": "dict", "properties": {"cups": {"type": "integer"}}}
    query = {
        "id": "multiple_0",
        "category": "multiple",
        "text": "two cups",
        "offered": ["tea.brew", "rain"],
        "calls": [{"tea.brew": {"cups": [2]}}],
    }
    found = read_set(
        write(
            "api",
            functions=[{"name": "tea.brew", "description": "Brews.", "parameters": parameters}],
            queries=[query, {"text": "no idea", "category": "irrelevance", "offered": ["tea.brew"], "calls": []}],
        )
    )
    assert isinstance(found, Schemas)
    assert found.functions == (Spec(name="tea.brew", description="Brews.", parameters=parameters),)
    assert found.requests == (
        Request(text="two cups", category="multiple", offered=("tea.brew", "rain"), right=frozenset({"tea.brew"})),
        Request(text="no idea", category="irrelevance", offered=("tea.brew",), right=frozenset()),
    )


def test_a_folder_of_no_kind_is_named_and_passed_over(write, tmp_path) -> None:
    write("drinks", train=[TEA], val=[TEA], test=[TEA])
    write("notes", readme=[TEA])
    write("half", train=[TEA], test=[TEA])
    write("alone", en__valid=[TEA], en__test=[TEA])
    sets, others = find_sets(tmp_path)
    assert [found.name for found in sets] == ["drinks"]
    assert others == ["alone", "half", "notes"]


def test_a_folder_that_is_not_there_is_named_with_how_to_give_another(tmp_path) -> None:
    with pytest.raises(DataError, match=r"no folder .*nowhere.*DATA=.*DISPATCHER_BENCH_DATA"):
        find_sets(tmp_path / "nowhere")


def test_a_folder_without_data_sets_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="holds no data set"):
        find_sets(tmp_path)


@pytest.mark.parametrize("line", ["{", "[1]", '{"label": "tea"}', '{"text": 7, "label": "tea"}'])
def test_a_line_that_is_no_row_is_named(write, line) -> None:
    folder = write("drinks", train=[TEA], val=[TEA], test=[TEA])
    (folder / "train.jsonl").write_text(json.dumps(TEA) + "\n\n" + line)
    with pytest.raises(DataError, match=r"train\.jsonl"):
        read_set(folder)


def test_a_file_without_rows_is_named(write) -> None:
    with pytest.raises(DataError, match=r"test\.jsonl holds no row"):
        read_set(write("drinks", train=[TEA], val=[TEA], test=[]))
