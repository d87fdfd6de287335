"""Pages as their readers use them: the code blocks of one, and a project of the files that it shows."""

import os
import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"(?:<!-- (?P<mark>[^>]*) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)


class Page:
    """A page of the docs. What stands in a comment before a block says what the block is for."""

    def __init__(self, path: str) -> None:
        self.text = (ROOT / path).read_text("utf-8")

    def blocks(self, mark: str) -> list[str]:
        return [block["text"] for block in _BLOCK.finditer(self.text) if (block["mark"] or "") == mark]

    def write_files(self, folder: Path) -> None:
        """Write the files that the page shows."""
        for block in _BLOCK.finditer(self.text):
            if (block["mark"] or "").startswith("file: "):
                (folder / block["mark"].removeprefix("file: ")).write_text(block["text"], "utf-8")


@dataclass(frozen=True)
class Project:
    """A reader's project: a folder of the page's files, and the repository on the path as an installed package."""

    folder: Path
    environment: dict[str, str]

    @classmethod
    def make(cls, folder: Path, **settings: str) -> "Project":
        # The repository stands on the path behind the reader's folder, as an installed package would.
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200", **settings}
        return cls(folder, environment)

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def run_console(self, console: str) -> list[tuple[str, str, "subprocess.CompletedProcess[str]"]]:
        """Run a console block: each line, what the page shows below it, and what it did."""
        shown = re.split(r"^(?=\$ )", console, flags=re.MULTILINE)[1:]
        steps = [step.partition("\n") for step in shown]
        return [(line, expected.strip(), self.run(*_command(line))) for line, _, expected in steps]

    def run_in_a_dispatcher(self, block: str, *, registry: str) -> "subprocess.CompletedProcess[str]":
        """Run the inside of an `async with Dispatcher(…)`; `registry` is what it imports."""
        program = (
            "import asyncio\nfrom datetime import timedelta\nfrom decimal import Decimal\n"
            f"from dispatcher import Dispatcher\nfrom tasks import {registry}\n"
            "async def main():\n    async with Dispatcher(registry) as dispatcher:\n"
            + textwrap.indent(block, " " * 8)
            + "asyncio.run(main())\n"
        )
        (self.folder / "inside.py").write_text(program, "utf-8")
        return self.run(sys.executable, "inside.py")


def _command(line: str) -> list[str]:
    """The command of a console line, run with the tests' own Python."""
    program, *arguments = shlex.split(line.removeprefix("$ "))
    return {"python": [sys.executable], "dispatcher": [sys.executable, "-m", "dispatcher"]}[program] + arguments
