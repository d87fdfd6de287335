"""Where a command's words go: results to standard output, everything else to standard error."""

import json
import re
import sys
from functools import cached_property
from typing import TYPE_CHECKING

from dispatcher.errors import DispatcherError, ServerError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: What a terminal takes for orders, or turns a line around with; tabs and line ends stay.
_ORDERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Output:
    """One command's output.

    Args:
        as_json: standard output holds JSON and nothing else.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    @cached_property
    def screen(self) -> "Console":
        """For tables and results that people read: standard output, or standard error where that holds JSON."""
        return _console(stderr=self.as_json)

    @cached_property
    def notes(self) -> "Console":
        """For progress, hints and questions: always standard error."""
        return _console(stderr=True)

    def json(self, data: object, *, one_line: bool = False) -> None:
        """Write a JSON document to standard output."""
        # Readable where that can be shown; else escaped as JSON escapes, not as the stream would.
        as_ascii = not (sys.stdout.encoding or "").lower().startswith("utf")
        text = json.dumps(data, ensure_ascii=as_ascii, indent=None if one_line else 2, default=str)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def text(self, text: str) -> None:
        """Write a result as it is to standard output: no markup, no wrapping."""
        sys.stdout.write(text + "\n")

    def note(self, text: str) -> None:
        """Tell people something, on standard error."""
        self.notes.print(visible(text), markup=False, highlight=False, soft_wrap=True)

    def error(self, error: DispatcherError, *, dispatches: bool) -> None:
        """Say what went wrong, in words; with `--json` as data too.

        Args:
            error: what was raised.
            dispatches: whether there was a call: else nobody wants to know what became of it.
        """
        if self.as_json:
            self.json({"error": error_data(error)})
        if isinstance(error, ServerError) and not dispatches:
            self.complain(f"{error.address}: {error.problem}")
        else:
            self.complain(str(error))

    def complain(self, problem: str) -> None:
        """Say in words what went wrong."""
        from rich.text import Text

        self.notes.print(Text.assemble(("error: ", "bold red"), visible(problem)), soft_wrap=True)


def visible(text: str) -> str:
    """A text of anybody's as it is shown to people: what their terminal would obey is spelt out."""
    return _ORDERS.sub(lambda found: ascii(found[0])[1:-1], text)


def cell(text: str) -> "Text":
    """The same for a table."""
    from rich.text import Text

    return Text(visible(text))


def error_data(error: DispatcherError) -> dict[str, str]:
    """An error as JSON data."""
    return {"code": error.code, "message": str(error), "accepted": str(error.accepted)}


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)
