"""The README's code blocks are run as a reader would run them."""

import os
import re
import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"(?:<!-- (?P<mark>[^>]*) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Project:
    """A reader's project: the README's files in an empty folder, and a worker that runs them."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )


def blocks(mark: str) -> list[str]:
    return [block["text"] for block in BLOCK.finditer(README) if (block["mark"] or "") == mark]


def command(line: str) -> list[str]:
    """The command of a console line, run with the tests' own Python."""
    program, *arguments = shlex.split(line.removeprefix("$ "))
    return {"python": [sys.executable], "dispatcher": [sys.executable, "-m", "dispatcher"]}[program] + arguments


def wait_until_ready(worker: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(300):
        if " ready." in log.read_text("utf-8"):
            return
        if worker.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail(f"the worker did not start:\n{log.read_text('utf-8')}")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("readme")
    for block in BLOCK.finditer(README):
        if (block["mark"] or "").startswith("file: "):
            (folder / block["mark"].removeprefix("file: ")).write_text(block["text"], "utf-8")
    # The repository stands on the path behind the reader's folder, as an installed package would.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200"}
    log = (folder / "worker.log").open("wb")
    worker = subprocess.Popen(
        [sys.executable, "-m", "dispatcher", "worker", "--concurrency", "1"],
        cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        wait_until_ready(worker, folder / "worker.log")
        yield Project(folder, environment)
    finally:
        worker.terminate()
        worker.wait(30)
        log.close()


def test_the_first_function_does_what_the_readme_shows(project: Project) -> None:
    (console,) = blocks("run")
    shown = re.split(r"^(?=\$ )", console, flags=re.MULTILINE)[1:]
    assert len(shown) >= 3
    for step in shown:
        line, _, expected = step.partition("\n")
        done = project.run(*command(line))
        assert expected.strip() == (done.stdout + done.stderr).strip(), line
        assert done.returncode == (1 if expected.startswith("error") else 0)


def test_what_else_a_producer_can_do_works_as_written(project: Project) -> None:
    (block,) = blocks("run in a dispatcher")
    program = (
        "import asyncio\nfrom datetime import timedelta\nfrom decimal import Decimal\n"
        "from dispatcher import Dispatcher\nfrom tasks import registry, send_invoice\n"
        "async def main():\n    async with Dispatcher(registry) as dispatcher:\n"
        + textwrap.indent(block, " " * 8)
        + "        print('done', outcome.attempts, (await job.outcome()).reason)\n"
        "asyncio.run(main())\n"
    )
    (project.folder / "more.py").write_text(program, "utf-8")
    done = project.run(sys.executable, "more.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done 1 changed my mind"
