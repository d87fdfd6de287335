"""What Flower shows of real calls on a real worker, and to whom.

One story is played once: calls that succeed, fail, are retried, cancelled and expire, some with a secret. The tests then
read what the dashboard tells.
"""

import asyncio
import base64
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from celery import Celery

from dispatcher import Dispatcher, Handle, Settings
from dispatcher.monitoring.flower import FlowerLauncher
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance.helpers import (
    LONG,
    PATIENCE_SECONDS,
    QUICK_SETTINGS,
    ROOT,
    Marks,
    Worker,
    environment_of,
    eventually,
    soon,
)
from tests.acceptance.shown_functions import fetch, greet, new_key, refuse, registry, sign_in, watch

#: Must be seen nowhere.
SECRET = "tr0ub4dor-and-3"
APP = "tests.acceptance.shown_worker_app"

Tasks = dict[str, dict[str, Any]]


class Dashboard:
    """A running Flower, as somebody with the password sees it."""

    def __init__(self, launcher: FlowerLauncher, process: "subprocess.Popen[bytes]") -> None:
        self.launcher = launcher
        self.process = process

    def get(self, path: str, *, login: str | None = "", data: bytes | None = None) -> tuple[int, str]:
        """Status and text. `login` is `user:password`, empty for the right one, None for none."""
        request = Request(self.launcher.address + path, data=data)
        if login is not None:
            login = login or f"{self.launcher.user}:{self.launcher.password}"
            request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    def tasks(self) -> Tasks:
        status, text = self.get("/api/tasks")
        assert status == 200, text
        found: Tasks = json.loads(text)
        return found


class Story:
    """The ids of the calls that were made, by what became of them."""

    def __init__(self, server: EmbeddedServer, settings: Settings) -> None:
        self.server = server
        self.settings = settings
        self.ids: dict[str, str] = {}

    def play(self) -> None:
        asyncio.run(self._dispatch())
        self._call_from_plain_celery()

    async def _dispatch(self) -> None:
        async with Dispatcher(registry, settings=self.settings) as dispatcher:
            handles = {
                "success": await dispatcher.dispatch(greet.call(name="Ann")),
                "secret argument": await dispatcher.dispatch(sign_in.call(user="ann", password=SECRET)),
                "failure": await dispatcher.dispatch(refuse.call(user="ann", password=SECRET)),
                "secret result": await dispatcher.dispatch(new_key.call(seed=SECRET)),
                "retries": await dispatcher.dispatch(fetch.call(order=7)),
                "cancelled before it ran": await dispatcher.dispatch(greet.call(name="Bob"), delay=timedelta(hours=1)),
                "cancelled while it ran": await dispatcher.dispatch(watch.call(seconds=60)),
                "expired": await dispatcher.dispatch(
                    greet.call(name="Cy"), delay=timedelta(hours=1), deadline=timedelta(seconds=0.3)
                ),
            }
            self.ids = {what: handle.id for what, handle in handles.items()}
            running = handles["cancelled while it ran"]
            await soon(lambda: _is_running(running))
            for what in ("cancelled before it ran", "cancelled while it ran"):
                assert await handles[what].cancel("not needed")
            for handle in handles.values():
                await handle.outcome(LONG)

    def _call_from_plain_celery(self) -> None:
        with Celery("plain", broker=self.server.url, backend=self.server.url, set_as_current=False) as app:
            answers = {
                "plain": app.send_task("shop.sign_in", args=("ann",), kwargs={"password": SECRET}),
                "plain, by position": app.send_task("shop.sign_in", args=("ann", SECRET)),
                "plain failure": app.send_task("shop.refuse", args=("ann", SECRET)),
                "plain secret result": app.send_task("shop.new_key", kwargs={"seed": SECRET}),
            }
            for answer in answers.values():
                answer.get(timeout=PATIENCE_SECONDS, propagate=False)
        self.ids |= {what: answer.id for what, answer in answers.items()}


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Queues of its own: the other tests' workers do not know these functions."""
    with EmbeddedServer(tmp_path_factory.mktemp("shown")) as running:
        yield running


@pytest.fixture(scope="module")
def own_settings(own_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("dashboard")
    return Settings.load(url=own_server.url, state_dir=folder, flower_port=0, **QUICK_SETTINGS)


@pytest.fixture(scope="module")
def own_worker(own_settings: Settings, marks: Marks) -> Iterator[Worker]:
    with Worker(own_settings, marks, app=APP) as running:
        yield running


@pytest.fixture(scope="module")
def dashboard(own_server: EmbeddedServer, own_settings: Settings) -> Iterator[Dashboard]:
    launcher = FlowerLauncher(own_settings, own_server.url)
    assert launcher.is_new_password
    process = launcher.start()
    try:
        assert launcher.wait(process), launcher.log_path.read_text()
        yield Dashboard(launcher, process)
    finally:
        end(process)


@pytest.fixture(scope="module")
def story(own_server: EmbeddedServer, own_settings: Settings, own_worker: Worker, dashboard: Dashboard) -> Story:
    """Everything has happened, and the dashboard has heard of it."""
    story = Story(own_server, own_settings)
    story.play()
    ends = {"SUCCESS", "FAILURE", "REVOKED"}
    eventually(lambda: {i for i, task in dashboard.tasks().items() if task["state"] in ends} >= set(story.ids.values()))
    return story


@pytest.fixture(scope="module")
def shown(story: Story, dashboard: Dashboard) -> Tasks:
    """Each call as the API tells of it, by what became of it."""
    tasks = dashboard.tasks()
    return {what: tasks[job_id] for what, job_id in story.ids.items()}


class TestWhatIsShown:
    def test_each_job_is_a_task_of_its_functions_name_under_its_own_id(
        self, story: Story, shown: Tasks, dashboard: Dashboard
    ) -> None:
        assert {what: task["name"] for what, task in shown.items()} == {
            "success": "shop.greet",
            "secret argument": "shop.sign_in",
            "failure": "shop.refuse",
            "secret result": "shop.new_key",
            "retries": "shop.fetch",
            "cancelled before it ran": "shop.greet",
            "cancelled while it ran": "shop.watch",
            "expired": "shop.greet",
            "plain": "shop.sign_in",
            "plain, by position": "shop.sign_in",
            "plain failure": "shop.refuse",
            "plain secret result": "shop.new_key",
        }
        assert set(dashboard.tasks()) == set(story.ids.values())

    def test_arguments_are_shown_and_sensitive_ones_hidden(self, shown: Tasks) -> None:
        assert shown["success"]["kwargs"] == '{"name":"Ann"}'
        assert shown["secret argument"]["kwargs"] == '{"user":"ann","password":"***"}'
        assert shown["plain"]["kwargs"] == "{'password': '***'}"
        assert shown["plain, by position"]["args"] == "('ann', '***')"

    def test_arguments_are_shown_of_calls_that_no_worker_ever_had(self, shown: Tasks) -> None:
        assert shown["cancelled before it ran"]["kwargs"] == '{"name":"Bob"}'
        assert shown["expired"]["kwargs"] == '{"name":"Cy"}'

    def test_states_are_celerys(self, shown: Tasks) -> None:
        assert {what: task["state"] for what, task in shown.items()} == {
            "success": "SUCCESS",
            "secret argument": "SUCCESS",
            "failure": "FAILURE",
            "secret result": "SUCCESS",
            "retries": "SUCCESS",
            "cancelled before it ran": "REVOKED",
            "cancelled while it ran": "REVOKED",
            "expired": "REVOKED",
            "plain": "SUCCESS",
            "plain, by position": "SUCCESS",
            "plain failure": "FAILURE",
            "plain secret result": "SUCCESS",
        }

    def test_retries_are_counted_and_their_reason_is_told(self, shown: Tasks) -> None:
        assert shown["retries"]["retries"] == 2
        assert shown["retries"]["exception"] == "ConnectionError: the shop does not answer"
        assert shown["success"]["retries"] == 0

    def test_results_are_summed_up_and_hidden_ones_are_not_told(self, shown: Tasks) -> None:
        assert shown["success"]["result"] == '"Good morning, Ann"'
        assert shown["secret result"]["result"] == "***"
        assert shown["plain secret result"]["result"] == "***"

    def test_errors_are_told_without_the_secret(self, shown: Tasks) -> None:
        assert shown["failure"]["exception"] == "PermissionError: ann may not enter with ***"
        assert shown["plain failure"]["exception"] == "PermissionError: ann may not enter with ***"

    def test_the_run_time_and_the_worker_are_told(self, shown: Tasks, own_worker: Worker) -> None:
        assert 0 < shown["success"]["runtime"] < PATIENCE_SECONDS
        assert {task["worker"] for task in shown.values()} == {f"{own_worker.log.stem}@test"}

    def test_only_workers_are_shown_as_workers(self, story: Story, dashboard: Dashboard, own_worker: Worker) -> None:
        workers = json.loads(dashboard.get("/workers?json=1")[1])["data"]
        assert [worker["hostname"] for worker in workers] == [f"{own_worker.log.stem}@test"]

    def test_the_broker_page_shows_our_queues(self, story: Story, dashboard: Dashboard) -> None:
        status, page = dashboard.get("/broker")
        assert status == 200
        assert {"default", "default.high", "default.bulk"} <= set(re.findall(r"default[.a-z]*", page))


class TestSecrets:
    def test_no_page_and_no_answer_of_the_api_holds_a_secret(
        self, story: Story, own_server: EmbeddedServer, own_worker: Worker, dashboard: Dashboard
    ) -> None:
        worker = f"{own_worker.log.stem}@test"
        paths = ["/", "/workers", "/workers?json=1", "/tasks", "/broker", "/metrics", f"/worker/{worker}"]
        paths += ["/api/tasks", "/api/task/types", "/api/workers?refresh=1", "/api/queues/length"]
        paths += [f"/{kind}/{job_id}" for job_id in story.ids.values() for kind in ("task", "api/task/info")]
        answers = {path: dashboard.get(path) for path in paths}
        assert {path: status for path, (status, _) in answers.items() if status != 200} == {}
        server_password = re.findall(r"://:([^@]+)@", own_server.url)[0]
        for secret in (SECRET, server_password, dashboard.launcher.password):
            assert [path for path, (_, text) in answers.items() if secret in text] == []

    def test_results_cannot_be_fetched_past_the_redaction(self, story: Story, dashboard: Dashboard) -> None:
        status, text = dashboard.get(f"/api/task/result/{story.ids['secret result']}")
        assert status == 503
        assert SECRET not in text

    def test_no_log_holds_a_secret(
        self, story: Story, own_server: EmbeddedServer, own_worker: Worker, dashboard: Dashboard
    ) -> None:
        logs = own_worker.log.read_text() + dashboard.launcher.log_path.read_text()
        assert "shop.refuse" in logs
        server_password = re.findall(r"://:([^@]+)@", own_server.url)[0]
        assert [secret for secret in (SECRET, server_password, dashboard.launcher.password) if secret in logs] == []

    def test_no_command_line_of_any_process_holds_a_password(
        self, own_server: EmbeddedServer, dashboard: Dashboard
    ) -> None:
        command_lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                command_lines.append(path.read_bytes())
        assert any(b"dispatcher.monitoring.flower_main" in line for line in command_lines)
        server_password = re.findall(r"://:([^@]+)@", own_server.url)[0]
        for secret in (dashboard.launcher.password, server_password):
            assert not any(secret.encode() in line for line in command_lines)


class TestWhoMayLook:
    @pytest.mark.parametrize(
        "path", ["/", "/tasks", "/workers", "/broker", "/task/x", "/worker/x", "/api/tasks", "/api/workers"]
    )
    @pytest.mark.parametrize("login", [None, "flower:wrong", "flower:", "somebody:else"])
    def test_nobody_without_the_password(self, dashboard: Dashboard, path: str, login: str | None) -> None:
        status, text = dashboard.get(path, login=login)
        assert status == 401
        assert text in {"", "Access denied"}

    def test_nobody_from_another_machine(self, dashboard: Dashboard) -> None:
        assert listening(dashboard.process.pid) == {"127.0.0.1"}

    def test_the_password_is_kept_for_its_user_alone_and_shown_once(
        self, own_server: EmbeddedServer, own_settings: Settings, dashboard: Dashboard
    ) -> None:
        path = dashboard.launcher.password_path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        again = FlowerLauncher(own_settings, own_server.url)
        assert (again.password, again.is_new_password) == (dashboard.launcher.password, False)

    @pytest.mark.parametrize(
        "path",
        ["/api/task/send-task/shop.greet", "/api/task/revoke/x", "/api/worker/shutdown/x", "/api/worker/pool/grow/x"],
    )
    def test_looking_is_all_one_can_do(self, story: Story, dashboard: Dashboard, path: str) -> None:
        before = len(dashboard.tasks())
        assert dashboard.get(path, data=b"{}")[0] == 403
        assert len(dashboard.tasks()) == before


class TestProcess:
    def test_it_ends_with_the_process_that_started_it(self, own_server: EmbeddedServer, own_settings: Settings) -> None:
        launcher = FlowerLauncher(own_settings, own_server.url)
        process = launcher.start()
        assert launcher.wait(process)
        assert process.stdin is not None
        process.stdin.close()  # as the system does when a process dies
        assert process.wait(10) == 0

    def test_one_that_cannot_start_is_noticed(self, own_settings: Settings) -> None:
        launcher = FlowerLauncher(own_settings, "http://no.server")
        process = launcher.start()
        assert not launcher.wait(process)
        assert end(process) != 0


class TestCelerysOwnCommand:
    @pytest.fixture
    def port(self) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def test_it_is_closed_and_on_loopback_too(self, own_settings: Settings, port: int, tmp_path: Path) -> None:
        settings = own_settings.model_copy(update={"state_dir": tmp_path})
        log = tmp_path / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", APP, "flower", f"--port={port}"],
                cwd=ROOT,
                env={**os.environ, **environment_of(settings), "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            address = f"http://127.0.0.1:{port}"
            opener = build_opener(ProxyHandler({}))
            eventually(lambda: _status(opener, f"{address}/healthcheck") == 200)
            assert _status(opener, f"{address}/tasks") == 401
            assert _status(opener, f"{address}/api/tasks") == 401
            login = base64.b64encode(f"flower:{(tmp_path / 'flower.password').read_text().strip()}".encode()).decode()
            opener.addheaders = [("Authorization", f"Basic {login}")]
            assert _status(opener, f"{address}/tasks") == 200
            assert listening(process.pid) == {"127.0.0.1"}
            assert str(tmp_path / "flower.password") in log.read_text()
            assert (tmp_path / "flower.password").read_text().strip() not in log.read_text()
        finally:
            end(process)


@pytest.mark.browser
def test_a_browser_shows_the_calls(story: Story, dashboard: Dashboard, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None and "CI" not in os.environ:
        pytest.skip("chromium is not installed")
    assert chromium is not None, "CI must have chromium"
    login = f"{dashboard.launcher.user}:{dashboard.launcher.password}"
    address = dashboard.launcher.address.replace("://", f"://{login}@")
    page = subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={tmp_path}", "--virtual-time-budget=10000", "--dump-dom", f"{address}/tasks"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    names = {"shop.greet", "shop.sign_in", "shop.refuse", "shop.new_key", "shop.fetch", "shop.watch"}
    assert {name for name in names if name in page} == names
    assert {state for state in ("SUCCESS", "FAILURE", "REVOKED") if state in page} == {"SUCCESS", "FAILURE", "REVOKED"}
    assert "***" in page
    assert SECRET not in page


async def _is_running(handle: Handle[object]) -> bool:
    return (await handle.status()).state == "running"


def end(process: "subprocess.Popen[bytes]") -> int:
    """End a process, and let go of its input. Its exit code."""
    process.terminate()
    if process.stdin is not None:
        process.stdin.close()
    return process.wait(10)


def _status(opener: Any, url: str) -> int:
    try:
        with opener.open(url, timeout=5) as answer:
            return int(answer.status)
    except HTTPError as error:
        error.close()
        return error.code
    except OSError:
        time.sleep(0.1)
        return 0


def listening(pid: int) -> set[str]:
    """The addresses a process listens on for TCP."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            sockets.update(re.findall(r"^socket:\[(\d+)\]$", str(descriptor.readlink())))
    found = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            local, state, inode = (line.split()[index] for index in (1, 3, 9))
            if state == "0A" and inode in sockets:
                words = bytes.fromhex(local.partition(":")[0])
                packed = b"".join(words[start : start + 4][::-1] for start in range(0, len(words), 4))
                found.add(socket.inet_ntop(family, packed))
    return found
