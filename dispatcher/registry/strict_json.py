"""JSON as a trust boundary: what text and what Python data may hold before anything is made of it.

Both checks refuse early: text is measured before it is parsed, and Python data is walked with a budget, so that neither
20 MB nor 100,000 levels nor a cycle costs more than a few milliseconds.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from itertools import accumulate
from math import isfinite
from typing import Final, NoReturn, cast
from uuid import UUID

from pydantic import BaseModel


class JsonRefusedError(ValueError):
    """The text or the data is not what JSON may carry here. Never holds the value."""

    def __init__(self, problem: str, *, kind: str) -> None:
        #: One of: size, depth, integer, number, text, duplicate, syntax, type.
        self.kind = kind
        super().__init__(problem)


class Carried(IntEnum):
    """How much of what JSON has no word for was met in a walk over Python data."""

    #: Objects with text keys, lists, text, numbers, booleans and null.
    NATIVE = 0
    #: Also tuples, sets, bytes, times, decimals…: one way to write them, but they come back as themselves only by type.
    CONVERTED = 1
    #: Also objects that write themselves, and keys that are not text: what they wrote is checked as text.
    OPAQUE = 2


#: One string of JSON text; an unterminated one runs to the end. Possessive, so that hostile text costs linear time.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")

#: Scalars that pydantic writes in one way.
_SMALL_SCALARS: Final = (date, time, timedelta, UUID)
#: The fewest bytes that an item of an array, and a pair of an object, can take.
_ITEM_BYTES: Final = 2
_PAIR_BYTES: Final = 5


def is_deeper(raw: bytes, depth: int) -> bool:
    """Whether JSON text nests objects and arrays deeper than `depth`. Reads it once, without recursion.

    Text that is not JSON may get either answer, but where it is False a parser goes no deeper than `depth` before it
    meets the fault.
    """
    if raw.count(b"[") + raw.count(b"{") <= depth:
        return False
    # Each opening bracket outside a string becomes 1, each closing one -1 (as a signed byte); summed up at C speed.
    steps = _STRING.sub(b"", raw).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > depth


class StrictJson:
    """The two checks, under one set of bounds.

    Args:
        max_bytes: of JSON text in UTF-8.
        depth: of nested objects and arrays, the outermost counted as one.
        integer_digits: decimal digits of an integer.
    """

    def __init__(self, *, max_bytes: int, depth: int, integer_digits: int) -> None:
        self.max_bytes = max_bytes
        self.depth = depth
        self.integer_digits = integer_digits
        self._integer_bound = 10**integer_digits
        self._decoder = json.JSONDecoder(
            object_pairs_hook=_unique,
            parse_int=self._read_integer,
            parse_float=_read_number,
            parse_constant=_refuse_constant,
        )

    # --- text ---------------------------------------------------------------------------------------------------

    def check_text(self, text: str | bytes) -> str:
        """The text, decoded, once it is known to be one JSON value within the bounds.

        Raises:
            JsonRefusedError: saying the first thing that is wrong with it.
        """
        if len(text) > self.max_bytes:
            self._refuse_size(len(text))
        if isinstance(text, str):
            raw = _encode(text)
            if len(raw) > self.max_bytes:
                self._refuse_size(len(raw))
        else:
            raw, text = text, _decode(text)
        if is_deeper(raw, self.depth):
            self._refuse_depth()
        if len(raw) <= self.integer_digits and _reads_at_once(text):
            return text
        try:
            data = self._decoder.decode(text)
        except json.JSONDecodeError as error:
            problem = f"not JSON: {error.msg} at character {error.pos}"
        except RecursionError:  # only where `depth` was set beyond what Python's own parser can follow
            problem = "nested too deep to be parsed"
        else:
            if "\\u" in text:
                _encode(json.dumps(data, ensure_ascii=False))
            return text
        raise JsonRefusedError(problem, kind="syntax")

    def check_written(self, written: bytes) -> str:
        """The same for what a serializer wrote, whose objects never hold a key twice.

        Text so short that it has room for no integer out of bounds is not read, unless something in it looks odd
        (`benchmarks.calls --only bulk`).
        """
        short = len(written) <= self.integer_digits and len(written) <= self.max_bytes
        odd = b"NaN" in written or b"Infinity" in written or b"\\u" in written
        return self.check_text(written) if odd or not short or is_deeper(written, self.depth) else written.decode()

    def check_texts(self, texts: Sequence[str]) -> None:
        """The same for many texts in one pass, each of which is known to be JSON by itself.

        Raises:
            JsonRefusedError: one of them is out of bounds; `check_text` says which.
        """
        if max(map(len, texts)) > self.max_bytes:
            self._refuse_size()
        joined = "[" + ",".join(texts) + "]"
        raw = _encode(joined)
        if len(raw) > self.max_bytes and any(len(_encode(text)) > self.max_bytes for text in texts):
            self._refuse_size()
        if is_deeper(raw, self.depth + 1):
            self._refuse_depth()
        try:
            data = self._decoder.decode(joined)
        except (json.JSONDecodeError, RecursionError):
            raise JsonRefusedError("not JSON", kind="syntax") from None  # noqa: EM101, TRY003 - looked at one by one
        if "\\u" in joined:
            _encode(json.dumps(data, ensure_ascii=False))

    def _read_integer(self, digits: str) -> int:
        if len(digits) - digits.startswith("-") > self.integer_digits:
            self._refuse_integer()
        return int(digits)

    # --- Python data --------------------------------------------------------------------------------------------

    def check_value(self, value: object) -> Carried:
        """Walk Python data that is to become JSON, and say what it holds.

        Stops as soon as the data cannot fit: sizes are counted as the least that JSON could take, so the text made of
        it must be measured too.

        Raises:
            JsonRefusedError: saying the first thing that is wrong with it.
        """
        budget = self.max_bytes
        met = Carried.NATIVE
        level: list[object] = [value]
        depth = 0
        while level:
            depth += 1
            deeper: list[object] = []
            for item in level:
                children: Iterable[object] | None
                if type(item) is list:  # the commonest by far, without the detour
                    children, cost = item, 1 + _ITEM_BYTES * len(item)
                else:
                    children, cost, kind = self._open(item)
                    if kind is not Carried.NATIVE:
                        met = max(met, kind)
                budget -= cost
                if budget < 0:
                    self._refuse_size()
                if children is not None and depth > self.depth:
                    self._refuse_depth()
                if children:
                    budget -= self._check_children(children, budget, deeper)
            level = deeper
        return met

    def _check_children(self, children: Iterable[object], budget: int, deeper: list[object]) -> int:
        """Check the commonest scalars here and now, leave the rest to the next level, and say how long the text was."""
        length, bound = 0, self._integer_bound
        for child in children:
            kind = type(child)
            if kind is str:
                length += len(cast("str", child))
                if length > budget:
                    self._refuse_size()
                if not cast("str", child).isascii():
                    _encode(cast("str", child))
            elif kind is int:
                if not -bound < cast("int", child) < bound:
                    self._refuse_integer()
            elif child is not None and kind is not bool:
                deeper.append(child)
        return length

    def _open(self, item: object) -> tuple[Iterable[object] | None, int, Carried]:
        """What is inside an item (None for a scalar), the fewest bytes it takes itself, and what it is for JSON."""
        if isinstance(item, dict):
            cost, kind = self._check_keys(item) if item else (1, Carried.NATIVE)
            return dict.values(item), cost, kind
        if isinstance(item, list | tuple | set | frozenset):
            kind = Carried.NATIVE if isinstance(item, list) else Carried.CONVERTED
            return item, 1 + _ITEM_BYTES * len(item), kind
        inner: list[object]
        if isinstance(item, Enum):
            inner = [item.value]
        elif isinstance(item, BaseModel):
            inner = [*item.__dict__.values(), *(item.__pydantic_extra__ or {}).values()]
        elif is_dataclass(item) and not isinstance(item, type):
            inner = [getattr(item, field.name, None) for field in fields(item)]
        else:
            return None, *self._check_scalar(item)
        return inner, 1, Carried.OPAQUE

    def _check_keys(self, item: Mapping[object, object]) -> tuple[int, Carried]:
        cost, kind = _PAIR_BYTES * len(item), Carried.NATIVE
        if cost > self.max_bytes + _PAIR_BYTES:
            self._refuse_size()
        for key in item:
            if type(key) is str:
                cost += len(key)
                if cost > self.max_bytes + _PAIR_BYTES:
                    self._refuse_size()
                if not key.isascii():
                    _encode(key)
            elif key is None or isinstance(key, tuple | frozenset) or is_dataclass(key):
                _refuse_type(key, "as a key")
            else:
                key_cost, _ = self._check_scalar(key)
                cost, kind = cost + key_cost, Carried.OPAQUE
        return cost, kind

    def _check_scalar(self, item: object) -> tuple[int, Carried]:
        if isinstance(item, str):
            if len(item) <= self.max_bytes:
                _encode(item)
            return len(item), Carried.NATIVE
        if isinstance(item, bytes | bytearray):
            return len(item) * 4 // 3, Carried.CONVERTED
        if isinstance(item, int):  # bool is one, and passes
            if not -self._integer_bound < item < self._integer_bound:
                self._refuse_integer()
            return 1, Carried.NATIVE
        if isinstance(item, float | Decimal):
            if not (item.is_finite() if isinstance(item, Decimal) else isfinite(item)):
                _refuse_number()
            return 1, Carried.CONVERTED if isinstance(item, Decimal) else Carried.NATIVE
        if isinstance(item, Iterator) or callable(item):
            _refuse_type(item)
        if item is None:
            return 1, Carried.NATIVE
        return 1, Carried.CONVERTED if isinstance(item, _SMALL_SCALARS) else Carried.OPAQUE

    # --- refusals -----------------------------------------------------------------------------------------------

    def _refuse_size(self, size: int | None = None) -> NoReturn:
        measured = "" if size is None else f"{size:,} bytes, "
        problem = f"{measured}larger than the {self.max_bytes:,} bytes of JSON allowed"
        raise JsonRefusedError(problem, kind="size")

    def _refuse_depth(self) -> NoReturn:
        problem = f"objects and arrays nested deeper than the {self.depth} levels allowed"
        raise JsonRefusedError(problem, kind="depth")

    def _refuse_integer(self) -> NoReturn:
        problem = f"an integer of more than the {self.integer_digits} digits allowed"
        raise JsonRefusedError(problem, kind="integer")


def _refuse_number() -> NoReturn:
    problem = "NaN, Infinity or a number too large for a double, which JSON cannot carry"
    raise JsonRefusedError(problem, kind="number")


def _refuse_type(item: object, where: str = "") -> NoReturn:
    problem = f"a value of type {type(item).__name__} {where}".rstrip() + ", which JSON cannot carry"
    raise JsonRefusedError(problem, kind="type")


def _refuse_constant(_name: str) -> NoReturn:
    _refuse_number()


def _read_number(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        _refuse_number()
    return number


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        problem = "the same key twice in one object"
        raise JsonRefusedError(problem, kind="duplicate")
    return unique


#: Without a function of Python's for each integer: what reads all but those.
_scan: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_read_number, parse_constant=_refuse_constant
).scan_once  # type: ignore[attr-defined]  # typeshed leaves it out


def _reads_at_once(text: str) -> bool:
    """Whether text that has no room for an integer out of bounds is plainly JSON, from its first character to its last.

    What is not is looked at again; what is took half the time (`benchmarks.calls --only single`).
    """
    try:
        _, end = _scan(text, 0)
    except (StopIteration, ValueError, RecursionError):
        return False
    return end == len(text) and "\\u" not in text


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        problem = "a lone surrogate, which is no character"
    raise JsonRefusedError(problem, kind="text")


def _decode(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        problem = f"not UTF-8: byte {error.start} cannot be decoded"
    raise JsonRefusedError(problem, kind="text")
