"""The data sets of a folder: of which kind each sub-folder is shows in the files that it holds.

| kind      | files                                                                            |
|-----------|----------------------------------------------------------------------------------|
| intents   | train, val or valid, test; perhaps oos_train, oos_val, oos_test, and train_N     |
| languages | LANGUAGE.valid and LANGUAGE.test of two languages at least                       |
| tools     | tools (name, description) and queries (text, label)                              |
| schemas   | functions (name, description, parameters) and queries (text, offered, calls)     |

Each file is JSON Lines and ends in `.jsonl`. Rows of the first two kinds are `{"text": …, "label": …}`; the label "oos"
says that no function fits.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from dispatcher.errors import DispatcherError

#: What a data set calls "out of scope".
OUT_OF_SCOPE: Final = "oos"
#: The language that is learnt from, where a data set has it.
ENGLISH: Final = "en"

_SUFFIX: Final = ".jsonl"
_VALID: Final = ("valid", "val")
_FEW: Final = re.compile(r"train_(\d+)")
_LANGUAGE: Final = re.compile(r"([A-Za-z]{2,3}(?:[-_][A-Za-z]+)?)\.(valid|val|test)")

JsonObject: TypeAlias = dict[str, Any]


class DataError(DispatcherError):
    """The data to measure on is not there, or cannot be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A text, and what is right for it."""

    text: str
    #: None where no function fits.
    label: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """A function as a data set describes it."""

    #: As the data set has it, whatever characters it is made of.
    name: str
    description: str
    #: A JSON Schema, or what resembles one; empty where the data set gives none.
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Intents:
    """Texts by intent, split for training and testing. Rows out of scope are among the others."""

    name: str
    train: tuple[Row, ...]
    valid: tuple[Row, ...]
    test: tuple[Row, ...]
    #: Smaller training sets, by how many examples of each intent they hold.
    few: Mapping[int, tuple[Row, ...]]

    @property
    def labels(self) -> tuple[str, ...]:
        """The intents, in alphabetical order."""
        rows = (*self.train, *self.valid, *self.test)
        return tuple(sorted({row.label for row in rows if row.label is not None}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Languages:
    """The same intents in several languages, of which one is learnt from."""

    name: str
    #: The language that is learnt from.
    learnt: str
    train: tuple[Row, ...]
    #: By language, the one that is learnt from among them.
    tests: Mapping[str, tuple[Row, ...]]

    @property
    def labels(self) -> tuple[str, ...]:
        rows = (*self.train, *(row for rows in self.tests.values() for row in rows))
        return tuple(sorted({row.label for row in rows if row.label is not None}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """Tools with a description, and requests in the order in which they came."""

    name: str
    tools: tuple[Spec, ...]
    queries: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A text for which some functions are offered."""

    text: str
    category: str
    offered: tuple[str, ...]
    #: The functions that are right; empty where none is.
    right: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Schemas:
    """Functions with typed parameters, and requests."""

    name: str
    functions: tuple[Spec, ...]
    requests: tuple[Request, ...]


DataSet: TypeAlias = Intents | Languages | Tools | Schemas


def find_sets(folder: Path) -> tuple[list[DataSet], list[str]]:
    """Read the data sets of a folder, in alphabetical order; and the names of sub-folders that are of no kind.

    Raises:
        DataError: there is no such folder, no data set in it, or a file that cannot be read.
    """
    if not folder.is_dir():
        msg = (
            f"there is no folder {folder}. The benchmark reads its data sets from a folder outside the project: "
            "give it with DATA=… or in DISPATCHER_BENCH_DATA"
        )
        raise DataError(msg)
    sets: list[DataSet] = []
    others: list[str] = []
    for inner in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        found = read_set(inner)
        if found is None:
            others.append(inner.name)
        else:
            sets.append(found)
    if not sets:
        msg = f"{folder} holds no data set of a kind that can be measured; see benchmarks/selection/kinds.py"
        raise DataError(msg)
    return sets, others


def read_set(folder: Path) -> DataSet | None:
    """The data set in a folder; None where its files are of no kind.

    Raises:
        DataError: a file cannot be read.
    """
    files = {path.name.removesuffix(_SUFFIX): path for path in sorted(folder.glob(f"*{_SUFFIX}"))}
    valid = _first(_VALID, files)
    if {"train", "test"} <= files.keys() and valid is not None:
        return _read_intents(folder.name, files, valid)
    if {"tools", "queries"} <= files.keys():
        tools = tuple(_spec(row) for row in _read(files["tools"]))
        return Tools(name=folder.name, tools=tools, queries=tuple(_rows(files["queries"])))
    if {"functions", "queries"} <= files.keys():
        functions = tuple(_spec(row) for row in _read(files["functions"]))
        return Schemas(
            name=folder.name, functions=functions, requests=tuple(_request(row) for row in _read(files["queries"]))
        )
    return _read_languages(folder.name, files)


def _read_intents(name: str, files: Mapping[str, Path], valid: str) -> Intents:
    outside = {
        split: tuple(_rows(files[file])) if file is not None else ()
        for split, file in (
            ("train", _first(("oos_train",), files)),
            ("valid", _first([f"oos_{name}" for name in _VALID], files)),
            ("test", _first(("oos_test",), files)),
        )
    }
    few = {int(match[1]): path for file, path in files.items() if (match := _FEW.fullmatch(file))}
    return Intents(
        name=name,
        train=(*_rows(files["train"]), *outside["train"]),
        valid=(*_rows(files[valid]), *outside["valid"]),
        test=(*_rows(files["test"]), *outside["test"]),
        few={count: (*_rows(path), *outside["train"]) for count, path in sorted(few.items())},
    )


def _read_languages(name: str, files: Mapping[str, Path]) -> Languages | None:
    found: dict[str, dict[str, Path]] = {}
    for file, path in files.items():
        if match := _LANGUAGE.fullmatch(file):
            found.setdefault(match[1], {})["test" if match[2] == "test" else "valid"] = path
    complete = {language: splits for language, splits in found.items() if len(splits) == len(("valid", "test"))}
    if len(complete) < 2:  # noqa: PLR2004 - one language crosses nothing
        return None
    learnt = ENGLISH if ENGLISH in complete else min(complete)
    return Languages(
        name=name,
        learnt=learnt,
        train=tuple(_rows(complete[learnt]["valid"])),
        tests={language: tuple(_rows(splits["test"])) for language, splits in complete.items()},
    )


def _first(names: Iterable[str], files: Mapping[str, Path]) -> str | None:
    return next((name for name in names if name in files), None)


def _rows(path: Path) -> Iterable[Row]:
    for row in _read(path, "text"):
        label = row.get("label")
        yield Row(text=row["text"], label=None if label in {None, "", OUT_OF_SCOPE} else str(label))


def _spec(row: JsonObject) -> Spec:
    parameters = row.get("parameters")
    return Spec(
        name=str(row.get("name", "")),
        description=str(row.get("description") or ""),
        parameters=parameters if isinstance(parameters, dict) else {},
    )


def _request(row: JsonObject) -> Request:
    calls = [call for call in row.get("calls") or () if isinstance(call, dict)]
    return Request(
        text=str(row.get("text", "")),
        category=str(row.get("category", "")),
        offered=tuple(map(str, row.get("offered") or ())),
        right=frozenset(name for call in calls for name in call),
    )


def _read(path: Path, *needed: str) -> Iterable[JsonObject]:
    """The objects of a JSON Lines file.

    Raises:
        DataError: the file cannot be read, holds no row, or a line that is no object or lacks a text that is needed.
    """
    empty = True
    try:
        # The lines of a file, not of `splitlines`, which also cuts at characters that may stand inside a JSON text.
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in needed):
                    msg = f"{path}, line {number}: not an object" + "".join(f' with a text "{key}"' for key in needed)
                    raise DataError(msg)
                empty = False
                yield row
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read: {error}"
        raise DataError(msg) from None
    if empty:
        msg = f"{path} holds no row"
        raise DataError(msg)
