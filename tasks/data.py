"""Functions on data: CSV, JSON and lists."""

import csv
import io
import json
import statistics
from dataclasses import dataclass
from typing import Literal

from tasks.shared import registry

#: Rows and columns of a CSV text.
MAX_ROWS = 20_000
MAX_COLUMNS = 200
#: Nesting of a JSON document.
MAX_DEPTH = 100

#: A cell, a field of a record: what has no parts.
Scalar = str | int | float | bool | None
Delimiter = Literal["auto", ",", ";", "\t", "|"]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A CSV text as records."""

    columns: list[str]
    #: One dictionary a row, column to cell; cells stay texts.
    rows: list[dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Column:
    """What is in one column."""

    name: str
    kind: Literal["number", "text", "empty"]
    filled: int
    distinct: int
    #: Of columns of numbers only.
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None


@registry.function(
    name="data.parse_csv",
    tags={"data", "csv", "table"},
    examples=(
        "parse this csv into records",
        "turn the comma separated rows into json",
        "read the spreadsheet export",
        "把这段CSV解析成记录",
        "将逗号分隔的表格转成JSON",
    ),
)
def parse_csv(text: str, delimiter: Delimiter = "auto") -> Table:
    """Parse a CSV text with a header line into records.

    Args:
        text: the CSV text, at most 20,000 rows of 200 columns.
        delimiter: what separates the cells; "auto" takes the likeliest from the header line.

    Raises:
        ValueError: if there is no header, a column has no name of its own, or a row has more cells than the header.
    """
    if delimiter == "auto":
        header = text.lstrip("\ufeff\r\n ").split("\n", 1)[0]
        delimiter = max((",", ";", "\t", "|"), key=header.count)
    reader = csv.reader(io.StringIO(text.lstrip("\ufeff")), delimiter=delimiter, strict=True)
    try:
        lines = [line for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        msg = f"line {reader.line_num} is not CSV: {error}"
        raise ValueError(msg) from None
    if not lines:
        msg = "the text holds no header line"
        raise ValueError(msg)
    columns = [cell.strip() for cell in lines[0]]
    if not all(columns) or len(set(columns)) < len(columns):
        msg = "each column needs a name of its own in the header line"
        raise ValueError(msg)
    if len(columns) > MAX_COLUMNS or len(lines) - 1 > MAX_ROWS:
        msg = (
            f"a table may have {MAX_ROWS:,} rows and {MAX_COLUMNS} columns, not {len(lines) - 1:,} and {len(columns):,}"
        )
        raise ValueError(msg)
    for number, line in enumerate(lines[1:], start=1):
        if len(line) > len(columns):
            msg = f"row {number} has {len(line)} cells, the header has {len(columns)}"
            raise ValueError(msg)
    rows = [dict(zip(columns, [*line, *[""] * (len(columns) - len(line))], strict=True)) for line in lines[1:]]
    return Table(columns=columns, rows=rows)


@registry.function(
    name="data.summarise_csv",
    tags={"data", "csv", "table", "profile"},
    examples=(
        "what columns does this csv have and what is in them",
        "profile the table: minimum, maximum and missing values of each column",
        "give me an overview of the sales csv",
        "统计这个CSV表格每一列的情况",
        "概览一下这份表格数据",
    ),
)
def summarise_csv(text: str, delimiter: Delimiter = "auto") -> list[Column]:
    """Profile a CSV text: for each column its kind, filled and distinct cells, and the range and mean of numbers.

    Args:
        text: the CSV text with a header line.
        delimiter: what separates the cells.

    Raises:
        ValueError: as parse_csv.
    """
    table = parse_csv(text, delimiter)
    return [_column(name, [row[name].strip() for row in table.rows]) for name in table.columns]


def _column(name: str, cells: list[str]) -> Column:
    filled = [cell for cell in cells if cell]
    numbers = [number for number in map(_number, filled) if number is not None]
    if not filled or len(numbers) < len(filled):
        return Column(name=name, kind="text" if filled else "empty", filled=len(filled), distinct=len(set(filled)))
    return Column(
        name=name,
        kind="number",
        filled=len(filled),
        distinct=len(set(filled)),
        minimum=min(numbers),
        maximum=max(numbers),
        mean=statistics.fmean(numbers),
    )


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None  # also None for NaN, which is below nothing


@dataclass(frozen=True, kw_only=True)
class JsonCheck:
    """Whether a text is JSON, and where it is not."""

    valid: bool
    #: What the document is; None when it is not valid.
    kind: Literal["object", "array", "string", "number", "boolean", "null"] | None = None
    problem: str | None = None
    line: int | None = None
    column: int | None = None


@registry.function(
    name="data.validate_json",
    tags={"data", "json", "check"},
    examples=(
        'is this valid JSON: {"a": 1}',
        "check the syntax of my json file",
        "where is the error in this JSON document?",
        "检查这段JSON格式是否正确",
        "这个JSON哪里写错了",
    ),
)
def validate_json(text: str) -> JsonCheck:
    """Check whether a text is valid JSON and point to the first mistake.

    Stricter than Python: NaN, Infinity and repeated keys are mistakes.

    Args:
        text: the document.
    """
    try:
        value = _load(text)
    except json.JSONDecodeError as error:
        return JsonCheck(valid=False, problem=error.msg, line=error.lineno, column=error.colno)
    except ValueError as error:
        return JsonCheck(valid=False, problem=str(error))
    return JsonCheck(valid=True, kind=_kind(value))


@registry.function(
    name="data.query_json",
    tags={"data", "json", "extract"},
    examples=(
        "get the value at /users/0/name from this JSON",
        "read the field total out of the json document",
        "look up a JSON pointer",
        "从JSON里取出 /order/id 的值",
        "读取这个JSON中第一个用户的姓名",
    ),
)
def query_json(document: str, pointer: str) -> str:
    """Read one value out of a JSON document by its JSON pointer, as JSON text.

    Source: RFC 6901.

    Args:
        document: the JSON document.
        pointer: the path to the value, for example /users/0/name; empty for the whole document.

    Raises:
        ValueError: if the document is not JSON, or the pointer is malformed or points to nothing.
    """
    if pointer and not pointer.startswith("/"):
        msg = f"a JSON pointer is empty or starts with /, unlike {pointer[:80]!r}"
        raise ValueError(msg)
    value = _load(document)
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif (
            isinstance(value, list)
            and key.isascii()
            and key.isdigit()
            and str(int(key)) == key
            and int(key) < len(value)
        ):
            value = value[int(key)]
        else:
            msg = f"the document has nothing at {pointer[:80]!r}: no {key[:40]!r} in {_kind(value)}"
            raise ValueError(msg)
    return json.dumps(value, ensure_ascii=False)


def _load(text: str) -> object:
    try:
        value: object = json.loads(text, object_pairs_hook=_no_repeats, parse_constant=_no_constant)
    except RecursionError:
        msg = f"the document is nested deeper than {MAX_DEPTH} levels"
        raise ValueError(msg) from None
    if _depth(value) > MAX_DEPTH:
        msg = f"the document is nested deeper than {MAX_DEPTH} levels"
        raise ValueError(msg)
    return value


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        msg = f"the key {repeated[:40]!r} is repeated"
        raise ValueError(msg)
    return found


def _no_constant(name: str) -> None:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _depth(value: object) -> int:
    """Levels of nesting, counted without recursion, and no further than it takes to see that they are too many."""
    level, layer = 0, [value]
    while layer and level <= MAX_DEPTH + 1:
        inside: list[object] = []
        for item in layer:
            if isinstance(item, dict):
                inside.extend(item.values())
            elif isinstance(item, list):
                inside.extend(item)
        level, layer = level + 1, inside
    return level - 1


def _kind(value: object) -> Literal["object", "array", "string", "number", "boolean", "null"]:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case dict():
            return "object"
        case list():
            return "array"
        case str():
            return "string"
    return "number"
