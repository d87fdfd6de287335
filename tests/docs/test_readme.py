"""The README's code blocks are run as a reader would run them."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import Page, Project

README = Page("README.md")


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
    """The README's files in an empty folder, and a worker that runs them."""
    folder = tmp_path_factory.mktemp("readme")
    README.write_files(folder)
    made = Project.make(folder)
    log = (folder / "worker.log").open("wb")
    worker = subprocess.Popen(
        [sys.executable, "-m", "dispatcher", "worker", "--concurrency", "1"],
        cwd=folder, env=made.environment, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        wait_until_ready(worker, folder / "worker.log")
        yield made
    finally:
        worker.terminate()
        worker.wait(30)
        log.close()


def test_the_first_function_does_what_the_readme_shows(project: Project) -> None:
    (console,) = README.blocks("run")
    steps = project.run_console(console)
    assert len(steps) >= 3
    for line, expected, done in steps:
        assert expected == (done.stdout + done.stderr).strip(), line
        assert done.returncode == (1 if expected.startswith("error") else 0)


def test_what_else_a_producer_can_do_works_as_written(project: Project) -> None:
    block, *_ = README.blocks("run in a dispatcher")
    block += "print('done', outcome.attempts, (await job.outcome()).reason)\n"
    done = project.run_in_a_dispatcher(block, registry="registry, send_invoice")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done 1 changed my mind"


def test_a_selection_learns_as_written(project: Project) -> None:
    _, block = README.blocks("run in a dispatcher")
    done = project.run_in_a_dispatcher(block, registry="registry")
    assert done.returncode == 0, done.stderr
