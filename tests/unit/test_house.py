"""The house around the code: make targets, pins, containers, pages."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def run(
    *command: object, cwd: Path = ROOT, path: str | None = None, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a program as from a plain shell: an outer make's variables would steer an inner one."""
    foreign = ("ARGS", "DISPATCHER_", "MAKE", "MFLAGS", "PYTEST_", "PYTHON")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    env = {**inherited, **({"PATH": path} if path is not None else {}), **environment}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture
def empty_clone(tmp_path: Path) -> Path:
    """A folder in which nothing was made yet."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


class TestMake:
    def test_bare_make_lists_every_target_with_a_line(self) -> None:
        listed = dict(re.findall(r"^  ([a-z-]+) +(\S.+)$", run("make").stdout, flags=re.MULTILINE))
        phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert phony is not None
        assert sorted(listed) == sorted(phony[1].split())
        assert {"demo", "test", "check"} <= listed.keys()

    def test_every_target_is_written_so_that_make_can_plan_it(self, empty_clone: Path) -> None:
        targets = re.findall(r"^  ([a-z-]+) ", run("make").stdout, flags=re.MULTILINE)
        failed = {t: plan.stderr for t in targets if (plan := run("make", "-n", t, cwd=empty_clone)).returncode != 0}
        assert failed == {}

    def test_a_python_that_does_not_run_is_passed_over(self, empty_clone: Path) -> None:
        programs = empty_clone / "programs"
        programs.mkdir()
        for name, code in {"python3.13": 127, "python3.12": 1, "python3.11": 0, "python3": 0}.items():
            program = programs / name
            program.write_text(f'#!/bin/sh\n[ "$1" = -m ] && echo "$0 $@"\nexit {code}\n')
            program.chmod(0o755)
        made = run("make", ".venv/bin/python", cwd=empty_clone, path=f"{programs}:{os.environ['PATH']}")
        assert made.stdout.splitlines()[1:] == [f"{programs}/python3.11 -m venv --clear .venv"]

    def test_without_a_python_that_will_do_it_says_what_to_do(self, empty_clone: Path) -> None:
        made = run("make", "PYTHON=false", "demo", cwd=empty_clone)
        assert made.returncode == 2
        assert "Python 3.11 or newer" in made.stderr
        assert "apt-get install python3 python3-venv" in made.stderr
        assert not (empty_clone / ".venv").exists()

    def test_a_users_settings_do_not_reach_the_tests_but_reach_the_demo(self, empty_clone: Path) -> None:
        elsewhere = {"DISPATCHER_URL": "redis://elsewhere", "PYTHONPATH": "/elsewhere"}
        assert "-u DISPATCHER_URL" in run("make", "-n", "test", cwd=empty_clone, **elsewhere).stdout
        assert "-u DISPATCHER_URL" not in run("make", "-n", "test", cwd=empty_clone).stdout
        assert (
            "-u DISPATCHER_URL .venv/bin/dispatcher"
            not in run("make", "-n", "demo", cwd=empty_clone, **elsewhere).stdout
        )

    def test_secrets_are_made_once_and_match(self, empty_clone: Path) -> None:
        assert run("make", "secrets", cwd=empty_clone).returncode == 0
        folder = empty_clone / "secrets"
        first = {file.name: file.read_text() for file in folder.iterdir()}
        assert first["dispatcher_url"] == f"redis://:{first['valkey_password']}@valkey:6379/0"
        assert re.fullmatch(r"flower:[0-9a-f]{48}", first["flower_basic_auth"])
        assert first["valkey_password"] not in first["flower_basic_auth"]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

        made = run("make", "secrets", cwd=empty_clone)
        assert {file.name: file.read_text() for file in folder.iterdir()} == first
        assert first["valkey_password"] not in made.stdout + made.stderr

    def test_what_ci_runs_is_executable_and_readable_by_bash(self) -> None:
        assert os.access(ROOT / ".ci/run", os.X_OK)
        assert run("bash", "-n", ".ci/run").returncode == 0


class TestPins:
    PINS = (ROOT / "constraints.txt").read_text().splitlines()

    def test_they_are_plain(self) -> None:
        assert [pin for pin in self.PINS if not re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", pin)] == []

    def test_they_cover_and_fit_everything_we_ask_for(self) -> None:
        pins = dict(pin.lower().replace("_", "-").split("==") for pin in self.PINS if "==" in pin)
        assert [
            str(asked) for asked in _asked_for() if not asked.specifier.contains(pins.get(_norm(asked.name), "0"))
        ] == []

    def test_the_library_itself_is_not_among_them(self) -> None:
        assert not any(pin.startswith(("function-dispatcher", "function_dispatcher")) for pin in self.PINS)


def _asked_for() -> list[Requirement]:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = data["project"], data["dependency-groups"]
    texts = [*project["dependencies"], *(t for extra in project["optional-dependencies"].values() for t in extra)]
    texts += [entry for group in groups.values() for entry in group if isinstance(entry, str)]
    return [asked for asked in map(Requirement, texts) if _norm(asked.name) != "function-dispatcher"]


def _norm(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


class TestContainers:
    COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    SERVICES: dict[str, Any] = COMPOSE["services"]
    DOCKERFILE = (ROOT / "Dockerfile").read_text()

    def test_the_compose_file_follows_the_compose_specification(self) -> None:
        checked = run(
            sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"
        )
        assert checked.returncode == 0, checked.stdout

    def test_docker_compose_reads_it(self) -> None:
        if shutil.which("docker") is None or run("docker", "compose", "version").returncode != 0:
            pytest.skip("docker compose is not installed")
        read = run("docker", "compose", "--profile", "dashboard", "config", "--quiet")
        assert read.returncode == 0, read.stderr

    def test_every_service_has_a_healthcheck_and_a_pinned_image(self) -> None:
        for name, service in self.SERVICES.items():
            assert service["healthcheck"]["test"], name
            assert re.search(r":(local|\d+\.\d+.*)$", service["image"]), name

    def test_workers_can_be_scaled(self) -> None:
        worker = self.SERVICES["worker"]
        assert not {"container_name", "ports", "hostname"} & worker.keys()
        assert worker["stop_grace_period"]

    def test_the_server_keeps_what_it_is_given(self) -> None:
        valkey = self.SERVICES["valkey"]
        command = " ".join(valkey["command"])
        assert "--appendonly yes" in command
        assert "--maxmemory-policy noeviction" in command
        assert "hash-max-listpack-value 1024" in command
        assert valkey["volumes"] == ["valkey:/data"]
        assert "ports" not in valkey

    def test_passwords_come_from_secret_files_only(self) -> None:
        assert "secrets/" in (ROOT / ".gitignore").read_text()
        assert all(secret["file"].startswith("secrets/") for secret in self.COMPOSE["secrets"].values())
        assert all(service["secrets"] for service in self.SERVICES.values())
        for name, service in self.SERVICES.items():
            assert "environment" not in service, name
        assert "requirepass $$(cat /run/secrets/valkey_password)" in self.SERVICES["valkey"]["command"][-1]

    def test_workers_start_after_the_server_is_healthy(self) -> None:
        for name in ("worker", "flower"):
            assert self.SERVICES[name]["depends_on"] == {"valkey": {"condition": "service_healthy"}}

    def test_the_dashboard_is_asked_for_guarded_and_on_loopback(self) -> None:
        flower = self.SERVICES["flower"]
        assert flower["profiles"] == ["dashboard"]
        assert all(port.startswith("127.0.0.1:") for port in flower["ports"])
        assert 'FLOWER_BASIC_AUTH="$$(cat /run/secrets/flower_basic_auth)"' in flower["command"][-1]
        assert [name for name, service in self.SERVICES.items() if "ports" in service] == ["flower"]

    def test_the_image_runs_as_nobody_special(self) -> None:
        last_stage = self.DOCKERFILE.split("\nFROM ")[-1]
        user = re.search(r"^USER (\S+)$", last_stage, flags=re.MULTILINE)
        assert user is not None
        assert int(user[1]) > 0
        assert last_stage.rindex("USER ") > last_stage.rindex("RUN ")
        assert re.search(r'^CMD \["', last_stage, flags=re.MULTILINE)

    def test_the_image_is_built_from_pinned_parts_and_what_it_copies_is_there(self) -> None:
        bases = re.findall(r"^FROM (\S+)", self.DOCKERFILE, flags=re.MULTILINE)
        assert set(bases) == {"python:3.12-slim-bookworm"}
        assert "--constraint constraints.txt" in self.DOCKERFILE
        allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
        copied = {
            name
            for line in re.findall(r"^COPY (.+)$", self.DOCKERFILE, flags=re.MULTILINE)
            for name in line.split()[:-1]
        }
        assert copied == allowed
        assert [name for name in copied if not (ROOT / name).exists()] == []


class TestPages:
    PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

    def test_the_settings_page_says_what_the_code_says(self) -> None:
        checked = run(sys.executable, "docs/make_settings.py", "--check", PYTHONPATH=str(ROOT))
        assert checked.returncode == 0, checked.stderr

    def test_a_settings_page_that_lags_behind_is_noticed(self, tmp_path: Path) -> None:
        program = shutil.copy(ROOT / "docs/make_settings.py", tmp_path)
        for stale in (None, "# Settings\n"):
            if stale is not None:
                (tmp_path / "settings.md").write_text(stale)
            checked = run(sys.executable, program, "--check", PYTHONPATH=str(ROOT))
            assert checked.returncode == 1
            assert "make settings-doc" in checked.stderr

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
    def test_links_inside_the_repository_lead_somewhere(self, page: Path) -> None:
        targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
        assert [target for target in targets if not (page.parent / target).exists()] == []

    def test_every_decision_is_listed_and_of_one_shape(self) -> None:
        listed = re.findall(r"\((\d{4}-[a-z0-9-]+\.md)\)", (ROOT / "docs/adr/README.md").read_text())
        pages = sorted(ROOT.glob("docs/adr/[0-9]*.md"))
        assert listed == [page.name for page in pages]
        for page in pages:
            text = page.read_text()
            assert text.startswith(f"# {int(page.name[:4])}. "), page.name
            assert re.search(r"^(Accepted|Replaced by .+), \d{4}-\d{2}\.$", text, flags=re.MULTILINE), page.name
            assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == ["Context", "Decision", "Consequences"], (
                page.name
            )
