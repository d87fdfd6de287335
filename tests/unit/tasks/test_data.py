import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data import Column, parse_csv, query_json, summarise_csv, validate_json
from tasks.records import deduplicate, sort_records


def test_csv_becomes_records():
    table = parse_csv('name,city\nAnn,"Oslo, Norway"\n\nBo\n')
    assert table.columns == ["name", "city"]
    assert table.rows == [{"name": "Ann", "city": "Oslo, Norway"}, {"name": "Bo", "city": ""}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_read_from_the_header(delimiter):
    text = f"a{delimiter}b\n1{delimiter}2"
    assert parse_csv(text).rows == [{"a": "1", "b": "2"}]
    assert parse_csv("\ufeff" + text, delimiter).columns == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no header"),
        ("\n \n", "no header"),
        ("a,,c\n1,2,3", "name of its own"),
        ("a,a\n1,2", "name of its own"),
        ("a,b\n1,2,3", "row 1 has 3 cells, the header has 2"),
        ('a,b\n"1,2', "is not CSV"),
        (",".join(map(str, range(201))), "200 columns"),
        ("a\n" + "1\n" * 20_001, "20,000 rows"),
    ],
)
def test_what_is_no_table_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        parse_csv(text)


def test_columns_are_profiled():
    columns = summarise_csv("region,sales,note\nnorth,120,\nsouth,,\nnorth,95.5,\n")
    assert columns == [
        Column(name="region", kind="text", filled=3, distinct=2),
        Column(name="sales", kind="number", filled=2, distinct=2, minimum=95.5, maximum=120, mean=107.75),
        Column(name="note", kind="empty", filled=0, distinct=0),
    ]


def test_cells_that_only_python_takes_for_numbers_make_a_column_of_text():
    assert [column.kind for column in summarise_csv("a,b\nnan,inf\n1,2")] == ["text", "text"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [("{}", "object"), ("[1]", "array"), ('"x"', "string"), ("1.5", "number"), ("true", "boolean"), ("null", "null")],
)
def test_valid_json_is_named_by_its_kind(text, kind):
    check = validate_json(text)
    assert check.valid
    assert check.kind == kind


@pytest.mark.parametrize(
    ("text", "problem", "line", "column"),
    [
        ('{"a": 1,}', "", 1, 9),
        ('{\n "a" 1}', "Expecting ':' delimiter", 2, 6),
        ("", "Expecting value", 1, 1),
        ("[NaN]", "NaN is not JSON", None, None),
        ('{"a": 1, "a": 2}', "the key 'a' is repeated", None, None),
        ("[" * 200 + "]" * 200, "deeper than 100", None, None),
        ("[" * 100_000, "", None, None),
    ],
)
def test_the_first_mistake_is_pointed_to(text, problem, line, column):
    check = validate_json(text)
    assert not check.valid
    assert problem in (check.problem or "")
    assert (check.line, check.column) == (line, column)


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", '{"a/b": [10, {"~": null}], "空": "值"}'),
        ("/a~1b/0", "10"),
        ("/a~1b/1", '{"~": null}'),
        ("/a~1b/1/~0", "null"),
        ("/空", '"值"'),
    ],
)
def test_a_pointer_reads_one_value(pointer, value):
    assert query_json('{"a/b": [10, {"~": null}], "空": "值"}', pointer) == value


@pytest.mark.parametrize(
    ("pointer", "said"),
    [
        ("a", "starts with /"),
        ("/b", "no 'b' in object"),
        ("/a/2", "in array"),
        ("/a/01", "in array"),
        ("/a/-", "in array"),
        ("/a/0/x", "in number"),
    ],
)
def test_a_pointer_to_nothing_is_refused(pointer, said):
    with pytest.raises(ValueError, match=said):
        query_json('{"a": [1, 2]}', pointer)


def test_a_document_that_is_not_json_is_refused():
    with pytest.raises(ValueError, match="Expecting"):
        query_json("{", "/a")


@given(st.text(max_size=200))
def test_any_text_is_judged(text):
    check = validate_json(text)
    assert check.valid is (check.kind is not None) is (check.problem is None)


def test_repeats_are_removed_and_the_first_of_each_is_kept():
    assert deduplicate(["Ann", " bo ", "ann", "", "Bo"]).items == ["Ann", "bo"]
    assert deduplicate(["Ann", " bo ", "ann", "", "Bo"]).removed == 3
    assert deduplicate(["a", "A", "a"], ignore_case=False).items == ["a", "A"]
    assert deduplicate([]).items == []


def test_records_are_sorted_with_numbers_first_and_missing_last():
    records = [{"k": "b"}, {"k": None}, {"k": 10}, {"x": 1}, {"k": "A"}, {"k": 2.5}]
    assert [record.get("k") for record in sort_records(records, "k")] == [2.5, 10, "A", "b", None, None]
    assert [record.get("k") for record in sort_records(records, "k", descending=True)] == [
        "b",
        "A",
        10,
        2.5,
        None,
        None,
    ]


def test_equal_records_keep_their_order():
    records = [{"k": 1, "n": 1}, {"k": 1, "n": 2}]
    assert sort_records(records, "k") == records
    assert sort_records(records, "k", descending=True) == records


def test_a_field_that_no_record_has_is_refused():
    with pytest.raises(ValueError, match="none of the 1 records has the field 'b'"):
        sort_records([{"a": 1}], "b")
    assert sort_records([], "b") == []


def test_lists_have_bounds():
    with pytest.raises(ValueError, match="20,001"):
        deduplicate(["a"] * 20_001)
    with pytest.raises(ValueError, match="20,001"):
        sort_records([{"a": 1}] * 20_001, "a")
