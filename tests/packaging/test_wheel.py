"""The built wheel, in an empty environment, beside a user's own `tasks.py` and `workers/`."""

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TASKS = '''
"""A user's own functions, in a module whose name our repository has a folder of."""

from dispatcher import Registry

registry = Registry()


@registry.function(name="greet")
def greet(name: str) -> str:
    """Greet somebody.

    Args:
        name: who it is.
    """
    return f"hello {name}"
'''


def clean_environment() -> dict[str, str]:
    """The environment, less what would lead to the repository or to somebody's server."""
    foreign = ("DISPATCHER_", "PYTHON", "COVERAGE", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def run(*command: object, cwd: Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean_environment(), capture_output=True, text=True, check=False
    )
    if check and done.returncode != 0:
        pytest.fail(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=ROOT)
    (built,) = folder.iterdir()
    return built


@dataclass(frozen=True, kw_only=True)
class Project:
    """A user's folder, and an environment that holds the wheel and what it asks for."""

    folder: Path
    programs: Path

    def python(self, code: str) -> str:
        return run(self.programs / "python", "-c", code, cwd=self.folder).stdout.strip()

    def dispatcher(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return run(self.programs / "dispatcher", *arguments, cwd=self.folder, check=False)


@pytest.fixture(scope="module")
def project(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True)
    pip = (environment / "bin/python", "-m", "pip", "install", "-qq", "--disable-pip-version-check")
    run(
        *pip,
        "--constraint",
        ROOT / "constraints.txt",
        f"function-dispatcher[server] @ {wheel.as_uri()}",
        cwd=environment,
    )

    folder = tmp_path_factory.mktemp("project")
    (folder / "tasks.py").write_text(TASKS)
    (folder / "workers").mkdir()
    (folder / "workers/__init__.py").write_text("MINE = True\n")
    return Project(folder=folder, programs=environment / "bin")


class TestContents:
    def test_nothing_but_the_library_and_its_metadata(self, wheel: Path) -> None:
        tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
        assert tops == {"dispatcher", f"function_dispatcher-{wheel.name.split('-')[1]}.dist-info"}

    def test_every_file_of_the_library_with_scripts_data_and_type_marker(self, wheel: Path) -> None:
        packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("dispatcher/")}
        ours = {
            str(file.relative_to(ROOT))
            for file in (ROOT / "dispatcher").rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }
        assert packed == ours
        assert "dispatcher/py.typed" in packed
        assert any(name.endswith(".lua") for name in packed)
        assert {
            "dispatcher/selection/common/requests.txt",
            "dispatcher/selection/common/vectors.npz",
            "dispatcher/selection/encoders/bert-base-uncased-vocab.txt.gz",
        } <= packed

    def test_the_metadata_say_what_it_is_and_ask_for_plain_versions(self, wheel: Path) -> None:
        archive = zipfile.ZipFile(wheel)
        info = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(info).decode())
        assert metadata["Name"] == "function-dispatcher"
        assert metadata["License-Expression"] == "Apache-2.0"
        assert metadata["Requires-Python"] == ">=3.11"
        assert set(metadata.get_all("Provides-Extra", [])) == {
            "server", "dashboard", "embedding", "embedding-fast", "embedding-e5", "plots", "uvloop", "all",
        }  # fmt: skip
        assert [asked for asked in metadata.get_all("Requires-Dist", []) if "://" in asked] == []
        assert metadata.get_all("License-File") == ["LICENSE", "NOTICE"]
        assert {info.replace("METADATA", f"licenses/{name}") for name in ("LICENSE", "NOTICE")} <= set(
            archive.namelist()
        )


class TestInstalled:
    def test_each_name_means_what_the_user_expects(self, project: Project) -> None:
        code = (
            "import dispatcher, tasks, workers; print(dispatcher.__file__, tasks.__file__, workers.__file__, sep='\\n')"
        )
        library, tasks, workers = (Path(line).resolve() for line in project.python(code).splitlines())
        assert project.programs.resolve().parent in library.parents
        assert tasks == (project.folder / "tasks.py").resolve()
        assert workers == (project.folder / "workers/__init__.py").resolve()

    def test_every_public_name_is_there(self, project: Project) -> None:
        missing = project.python(
            "import dispatcher; print([n for n in dispatcher.__all__ if not hasattr(dispatcher, n)], len(dispatcher.__all__))"
        )
        assert re.fullmatch(r"\[\] [1-9]\d*", missing)

    def test_a_users_function_can_be_called(self, project: Project) -> None:
        assert project.python("import tasks; print(tasks.greet('Ada'))") == "hello Ada"
        assert (
            project.python("import tasks; print(tasks.registry.bind('greet', {'name': 'Ada'}).arguments)")
            == '{"name":"Ada"}'
        )

    def test_the_command_lists_the_users_functions_and_no_others(self, project: Project) -> None:
        listed = project.dispatcher("functions", "--app", "tasks:registry", "--json")
        assert listed.returncode == 0, listed.stderr
        assert [function["name"] for function in json.loads(listed.stdout)] == ["greet"]

    def test_a_worker_runs_the_users_function_and_the_outcome_comes_back(self, project: Project) -> None:
        """With an embedded server, in the user's folder: nothing else is there."""
        with (project.folder / "worker.log").open("wb") as log:
            worker = subprocess.Popen(
                [project.programs / "dispatcher", "worker", "--concurrency", "1"],
                cwd=project.folder, env=clean_environment(), stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                called = project.dispatcher("call", "greet", "name=Ada", "--json", "--timeout", "60")
            finally:
                worker.terminate()
                worker.wait(30)
        assert called.returncode == 0, called.stderr + (project.folder / "worker.log").read_text()
        assert "hello Ada" in called.stdout
