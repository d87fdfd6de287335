"""The rules of who may import whom are noticed when they are broken: each is broken once, in an empty tree."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINTER = Path(sysconfig.get_path("scripts")) / "lint-imports"

MODULES = [
    "dispatcher.errors", "dispatcher.clock", "dispatcher.settings", "dispatcher.extras", "dispatcher.model.call",
    "dispatcher.registry.registry",
    "dispatcher.selection.selector", "dispatcher.selection.encoders.minilm", "dispatcher.transport.ledger",
    "dispatcher.client.handle",
    "dispatcher.execution.execute", "dispatcher.monitoring.flower", "dispatcher.cli.main", "tasks.text", "workers.app",
]  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Every room, empty, under the project's own rules."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for module in MODULES:
        file = _file(tmp_path, module)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        for folder in file.relative_to(tmp_path).parents[:-1]:
            (tmp_path / folder / "__init__.py").touch()
    return tmp_path


def _file(tree: Path, module: str) -> Path:
    return tree.joinpath(*module.split(".")).with_suffix(".py")


def lint(tree: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(LINTER), "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)


def test_imports_down_the_house_are_fine(tree: Path) -> None:
    _file(tree, "dispatcher.transport.ledger").write_text("import celery, kombu, redis, dispatcher.model.call\n")
    _file(tree, "dispatcher.selection.encoders.minilm").write_text("import numpy, onnxruntime, tokenizers\n")
    _file(tree, "dispatcher.selection.selector").write_text("import dispatcher.selection.encoders.minilm\n")
    _file(tree, "dispatcher.cli.main").write_text("import dispatcher.client.handle, dispatcher.execution.execute\n")
    _file(tree, "tasks.text").write_text("import dispatcher\nimport re\n")
    _file(tree, "workers.app").write_text("import celery, dispatcher, tasks\n")
    linted = lint(tree)
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("dispatcher.model.call", "redis"),
        ("dispatcher.model.call", "dispatcher.registry.registry"),
        ("dispatcher.settings", "typer"),
        ("dispatcher.extras", "celery"),
        ("dispatcher.registry.registry", "celery"),
        ("dispatcher.registry.registry", "dispatcher.selection.selector"),
        ("dispatcher.selection.selector", "dispatcher.transport.ledger"),
        ("dispatcher.model.call", "numpy"),
        ("dispatcher.selection.selector", "onnxruntime"),
        ("dispatcher.selection.encoders.minilm", "redis"),
        ("dispatcher.transport.ledger", "dispatcher.client.handle"),
        ("dispatcher.transport.ledger", "dispatcher.monitoring.flower"),
        ("dispatcher.client.handle", "dispatcher.execution.execute"),
        ("dispatcher.execution.execute", "dispatcher.client.handle"),
        ("dispatcher.client.handle", "redis"),
        ("dispatcher.execution.execute", "kombu"),
        ("dispatcher.cli.main", "celery"),
        ("dispatcher.cli.main", "tasks.text"),
        ("dispatcher.cli.main", "wordllama"),
        ("dispatcher.cli.main", "benchmarks"),
        ("dispatcher.execution.execute", "workers.app"),
        ("tasks.text", "workers.app"),
        ("tasks.text", "dispatcher.registry.registry"),
        ("tasks.text", "celery"),
    ],
)
def test_an_import_against_the_rules_is_noticed(tree: Path, module: str, imported: str) -> None:
    _file(tree, module).write_text(f"import {imported}\n")
    linted = lint(tree)
    assert linted.returncode == 1, linted.stdout
    assert f"{module} -> {imported}" in linted.stdout


def test_a_new_room_must_be_given_its_place(tree: Path) -> None:
    _file(tree, "dispatcher.cellar").touch()
    linted = lint(tree)
    assert linted.returncode == 1
    assert "cellar" in linted.stdout
