"""What docs/selection.md shows is run as a reader would run it: by words alone, and without data from elsewhere."""

import importlib.util
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Page, Project

PAGE = Page("docs/selection.md")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The page's own files in an empty folder."""
    PAGE.write_files(tmp_path)
    return Project.make(tmp_path, DISPATCHER_ENCODER="none")


@pytest.fixture
def clone(tmp_path: Path) -> Project:
    """A folder that has of a clone what the page's commands name; what they write does not end in the repository."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return Project.make(tmp_path, DISPATCHER_ENCODER="none")


def test_selections_are_those_that_the_page_shows(project: Project) -> None:
    (console,) = PAGE.blocks("run")
    for line, expected, done in project.run_console(console):
        assert done.stdout.strip() == expected, f"{line}\n{done.stderr}"


def test_feedback_works_as_written(project: Project) -> None:
    (block,) = PAGE.blocks("run in a dispatcher")
    done = project.run_in_a_dispatcher(block, registry="registry")
    assert done.returncode == 0, done.stderr


def test_the_commands_of_a_clone_work(clone: Project) -> None:
    (console,) = PAGE.blocks("run in the clone")
    steps = clone.run_console(console)
    assert len(steps) >= 4
    for line, _, done in steps:
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout.strip(), line


def test_what_draws_works_where_the_extra_is_installed(clone: Project) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("the extra `plots` is not installed")
    (console,) = PAGE.blocks("run in the clone with plots")
    for line, _, done in clone.run_console(console):
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    drawn = {path.name for path in (clone.folder / "pictures").iterdir()}
    assert {"reliability.png", "confusion.png", "roc.png", "learning-curves.png"} <= drawn


def test_the_benchmark_has_a_place_to_write_to() -> None:
    assert PAGE.text.count("<!-- bench-selection -->") == PAGE.text.count("<!-- /bench-selection -->") == 1
