"""Tables of Markdown, as all benchmarks write them for the docs."""

from collections.abc import Iterable, Sequence


def line(cells: Iterable[str]) -> str:
    """A row."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def heading(cells: Sequence[str]) -> list[str]:
    """The row of the heads, and the rule below it."""
    return [line(cells), line(["---"] * len(cells))]
