"""Functions on lists: what is double, and in which order."""

from dataclasses import dataclass

from tasks.data import Scalar
from tasks.shared import registry

#: Items of a list.
MAX_ITEMS = 20_000


@dataclass(frozen=True, kw_only=True)
class Deduplicated:
    """A list without its repeats."""

    #: In the order of first appearance.
    items: list[str]
    removed: int


@registry.function(
    name="data.deduplicate",
    tags={"data", "list", "clean"},
    examples=(
        "remove the duplicates from this list",
        "which names appear only once, drop repeated entries",
        "dedupe my mailing list",
        "把列表里重复的项去掉",
        "名单去重",
    ),
)
def deduplicate(items: list[str], ignore_case: bool = True) -> Deduplicated:  # noqa: FBT001, FBT002 - always named in a call
    """Remove duplicate entries from a list of texts, keeping the first of each.

    Args:
        items: the entries, at most 20,000; blanks around them are removed, empty ones dropped.
        ignore_case: treat "Ann" and "ann" as the same.

    Raises:
        ValueError: if there are too many entries.
    """
    if len(items) > MAX_ITEMS:
        msg = f"a list may have {MAX_ITEMS:,} entries, not {len(items):,}"
        raise ValueError(msg)
    seen: dict[str, str] = {}
    for item in items:
        entry = item.strip()
        if entry:
            seen.setdefault(entry.casefold() if ignore_case else entry, entry)
    return Deduplicated(items=list(seen.values()), removed=len(items) - len(seen))


@registry.function(
    name="data.sort_records",
    tags={"data", "list", "table", "order"},
    examples=(
        "sort these records by price, highest first",
        "order the employees by last name",
        "rank the products by rating",
        "按年龄从小到大排序",
        "把这些订单按金额降序排列",
    ),
)
def sort_records(records: list[dict[str, Scalar]], by: str, descending: bool = False) -> list[dict[str, Scalar]]:  # noqa: FBT001, FBT002 - always named in a call
    """Sort records by one of their fields; those where it is missing or null come last.

    Numbers are compared as numbers and come before texts, which are compared without regard to case.

    Args:
        records: the records, at most 20,000.
        by: the field to sort by.
        descending: largest first.

    Raises:
        ValueError: if there are too many records, or none has the field.
    """
    if len(records) > MAX_ITEMS:
        msg = f"a list may have {MAX_ITEMS:,} records, not {len(records):,}"
        raise ValueError(msg)
    filled = [record for record in records if record.get(by) is not None]
    if records and not filled:
        msg = f"none of the {len(records)} records has the field {by[:40]!r}"
        raise ValueError(msg)
    missing = [record for record in records if record.get(by) is None]
    return sorted(filled, key=lambda record: _rank(record[by]), reverse=descending) + missing


def _rank(value: Scalar) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 0, value, ""
    return 1, 0.0, str(value).casefold()
