"""The real command line, as a user types it: `python -m dispatcher …` in a folder with functions of one's own."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance.helpers import PATIENCE_SECONDS, ROOT, eventually

pytestmark = pytest.mark.slow

FUNCTIONS = '''
import os
import time
from datetime import timedelta
from pathlib import Path

from dispatcher import KeywordRule, KeywordSelector, Registry, RetryPolicy

registry = Registry()


@registry.function(examples=["add two numbers"])
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@registry.function(examples=["shout it"])
def shout(text: str) -> str:
    """Say a text loudly."""
    return text.upper()


@registry.function(retry=RetryPolicy(max_attempts=2, first_wait=timedelta(milliseconds=10)))
def fail(word: str = "no") -> None:
    """Fail, twice."""
    if Path("mended").exists():
        return
    raise ValueError(f"it failed: {word}")


@registry.function(examples=["wait a while"])
def wait(seconds: float) -> int:
    """Take time; says which process took it."""
    Path(f"waiting-{os.getpid()}").touch()
    time.sleep(seconds)
    return os.getpid()


selector = KeywordSelector(
    registry,
    rules=[
        KeywordRule(function="add", any_of=("add", "plus"), weight=9),
        KeywordRule(function="shout", any_of=("shout",), weight=9),
        KeywordRule(function="wait", any_of=("wait",), weight=9),
        KeywordRule(function="fail", any_of=("fail",), weight=9),
    ],
)
'''

REQUESTS = [
    {"id": "r1", "text": "add these", "arguments": {"a": 1, "b": 2}, "expect": "add"},
    {"id": "r2", "text": "shout: hello", "expect": "shout"},
    {"id": "r3", "text": "add these", "arguments": {"a": "many"}, "expect": "add", "outcome": "refused"},
    {"id": "r4", "text": "please fail", "expect": "fail", "outcome": "failed"},
    {"id": "r5", "text": "a poem about the moon", "expect": "none", "outcome": "refused"},
]


class Folder:
    """A user's folder, with an embedded server of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "functions.py").write_text(FUNCTIONS)
        foreign = ("DISPATCHER_", "CELERY_", "FLOWER_")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | {
            "DISPATCHER_APP": "functions:registry",
            "DISPATCHER_STATE_DIR": str(path / "state"),
            "DISPATCHER_LEASE_SECONDS": "2",
            "DISPATCHER_SWEEP_INTERVAL_SECONDS": "0.2",
            "DISPATCHER_REPUBLISH_GRACE_SECONDS": "1",
            "DISPATCHER_FLOWER_PORT": "0",
            "PYTHONPATH": str(ROOT),
        }

    def start(self, *words: str, **options: Any) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "dispatcher", *words],
            cwd=self.path,
            env=self.environment,
            text=True,
            start_new_session=True,
            **options,
        )

    def run(self, *words: str, code: int = 0, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "dispatcher", *words],
            cwd=self.path,
            env=self.environment,
            text=True,
            capture_output=True,
            input=stdin,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == code, f"{words}: code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code).stdout)

    def processes(self) -> dict[int, str]:
        """Everything that runs for this folder: its server by its command line, the others by their environment."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    command = (entry / "cmdline").read_bytes()
                    if os.fsencode(self.path) in command + (entry / "environ").read_bytes():
                        found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        return found

    def nothing_is_left(self) -> bool:
        return eventually(lambda: not self.processes(), within=10)


class Up:
    """A running `dispatcher up --json`."""

    def __init__(self, folder: Folder, *words: str) -> None:
        self._log = (folder.path / "up.log").open("wb")
        self.process = folder.start("up", "--json", *words, stdout=subprocess.PIPE, stderr=self._log)
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.log = folder.path / "up.log"
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._events.put(json.loads(line))

    def wait_for(self, event: str) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                seen = self._events.get(timeout=max(0.01, until - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"no {event!r} from `up`; its log:\n{self.log.read_text(errors='replace')[-3000:]}")
            if seen["event"] == event:
                return seen

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of the tests that only call."""
    return Folder(tmp_path_factory.mktemp("calls"))


@pytest.fixture(scope="module")
def up(folder: Folder) -> Iterator[Up]:
    """A server and a worker for them."""
    running = Up(folder, "--no-flower", "--concurrency", "2")
    running.wait_for("ready")
    yield running
    running.close()
    assert folder.nothing_is_left()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Folder]:
    """A folder of the test's own. Nothing may run in it afterwards."""
    made = Folder(tmp_path)
    yield made
    left = made.processes()
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert left == {}


@pytest.fixture
def start_up(own: Folder) -> Iterator[Callable[..., Up]]:
    """Run `up` in that folder; it ends with the test."""
    started: list[Up] = []

    def start(*words: str) -> Up:
        started.append(Up(own, *words))
        return started[-1]

    yield start
    for running in started:
        running.close()


class TestCall:
    def test_the_result_alone_is_on_standard_output(self, folder, up) -> None:
        assert folder.run("call", "add", "a=2", "b=3").stdout == "5\n"
        assert folder.run("call", "shout", "text=7").stdout == "7\n"
        assert folder.run("call", "shout", '{"text": "hé"}').stdout == "HÉ\n"
        assert folder.run("call", "add", "-", stdin='{"a": 1}').stdout == "2\n"

    def test_json_has_the_job_and_its_outcome(self, folder, up) -> None:
        data = folder.json("call", "add", "a=2")
        assert (data["function"], data["repeated"]) == ("add", False)
        assert data["outcome"]["state"] == "succeeded"
        assert (data["outcome"]["value"], data["outcome"]["attempts"]) == (3, 1)

    def test_a_failure_is_exit_code_1_and_a_line(self, folder, up) -> None:
        done = folder.run("call", "fail", "word=[x]", code=1)
        assert done.stdout == ""
        assert done.stderr.startswith("error: job ")
        assert done.stderr.endswith("failed: ValueError: it failed: [x]\n")

    def test_a_failure_as_json_is_the_outcome_and_the_error(self, folder, up) -> None:
        data = folder.json("call", "fail", code=1)
        assert (data["outcome"]["state"], data["outcome"]["attempts"]) == ("failed", 2)
        assert data["outcome"]["error"]["type"] == "ValueError"
        assert (data["error"]["code"], data["error"]["accepted"]) == ("call_failed", "yes")

    def test_a_queue_that_no_worker_listens_to_is_named(self, own) -> None:
        words = ("worker", "--queues", "elsewhere", "-c", "1")
        with EmbeddedServer(own.path / "state"):
            worker = own.start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                eventually(lambda: "no node listens to default" in str(own.json("doctor")), within=2 * PATIENCE_SECONDS)
                said = own.run("call", "add", "a=1", "--timeout", "8s", code=1).stderr
            finally:
                worker.terminate()
                worker.wait()
        assert "no worker listens to its queue default; start one: dispatcher worker --queues default" in said

    def test_bad_arguments_are_refused_before_anything_is_queued(self, folder, up) -> None:
        error = folder.json("call", "add", "a=x", code=1)["error"]
        assert (error["code"], error["accepted"]) == ("invalid_arguments", "no")

    def test_the_same_key_is_the_same_job(self, folder, up) -> None:
        first = folder.json("call", "add", "a=1", "--idempotency-key", "k")
        again = folder.json("call", "add", "a=1", "--idempotency-key", "k")
        assert (again["job_id"], again["repeated"]) == (first["job_id"], True)
        assert folder.json("call", "add", "a=2", "--idempotency-key", "k", code=1)["error"]["code"] == (
            "idempotency_conflict"
        )

    def test_a_timeout_says_that_the_job_goes_on(self, folder, up) -> None:
        error = folder.json("call", "add", "a=1", "--delay", "1m", "--timeout", "200ms", code=1)["error"]
        assert (error["code"], error["accepted"]) == ("outcome_timeout", "yes")

    def test_ctrl_c_leaves_the_job_running_and_says_how_to_find_it(self, folder, up) -> None:
        process = folder.start("call", "wait", "seconds=2", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        eventually(lambda: list(folder.path.glob("waiting-*")))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, out) == (130, "")
        job = err.split()[1]
        assert f"job {job} goes on" in err
        assert eventually(lambda: folder.json("status", job)["state"] == "succeeded")


class TestJobs:
    def test_a_job_is_followed_by_its_id(self, folder, up) -> None:
        job = folder.run("call", "add", "a=20", "b=22", "--no-wait").stdout.strip()
        status = eventually(lambda: (s := folder.json("status", job))["state"] == "succeeded" and s)
        assert (status["function"], status["outcome"]["value"]) == ("add", 42)
        assert "42" in folder.run("status", job).stdout

    def test_a_waiting_job_is_cancelled_once(self, folder, up) -> None:
        job = folder.run("call", "add", "a=1", "--delay", "10m", "--no-wait").stdout.strip()
        assert folder.json("status", job)["state"] == "scheduled"
        assert folder.json("cancel", job, "--reason", "changed my mind") == {
            "id": job, "cancelled": True, "state": "cancelled",
        }  # fmt: skip
        assert folder.json("status", job)["outcome"]["reason"] == "changed my mind"
        done = folder.run("cancel", job, code=1)
        assert done.stderr == f"error: job {job} had its outcome already: cancelled\n"

    def test_an_unknown_job_is_an_error(self, folder, up) -> None:
        for command in ("status", "cancel"):
            assert folder.json(command, "no-such-job", code=1)["error"]["code"] == "unknown_job"


class TestAsk:
    def test_a_text_becomes_a_call_and_the_reason_is_shown_beside_it(self, folder, up) -> None:
        done = folder.run("ask", "shout: good morning")
        assert done.stdout == "GOOD MORNING\n"
        assert "shout" in done.stderr
        assert "act: " in done.stderr

    def test_what_the_text_does_not_hold_comes_from_an_option(self, folder, up) -> None:
        data = folder.json("ask", "add them", "--arguments", '{"a": 1, "b": 1}')
        assert (data["decision"], data["function"], data["outcome"]["value"]) == ("act", "add", 2)
        assert data["candidates"][0]["function"] == "add"

    def test_a_dry_run_only_shows_the_call(self, folder, up) -> None:
        assert folder.run("ask", "shout: hi", "--dry-run").stdout == 'shout {"text":"hi"}\n'
        assert "job_id" not in folder.json("ask", "shout: hi", "--dry-run")

    def test_an_abstention_answers_and_is_exit_code_1(self, folder, up) -> None:
        assert folder.run("ask", "a poem about the moon", code=1).stdout.startswith("Sorry")
        data = folder.json("ask", "a poem about the moon", code=1)
        assert (data["decision"], data["function"]) == ("abstain", None)
        assert data["response"].startswith("Sorry")


class TestDeadLetters:
    def test_a_failed_job_is_listed_shown_replayed_and_discarded(self, own, start_up) -> None:
        start_up("--no-flower", "-c", "1").wait_for("ready")
        first, second = (own.json("call", "fail", f"word={word}", code=1)["job_id"] for word in ("one", "two"))

        assert {letter["id"] for letter in own.json("dead", "list")} == {first, second}
        assert own.json("dead", "list", "--function", "add") == []
        listed = own.run("dead", "list").stdout
        assert "it failed: one" in " ".join(listed.split())
        assert first in listed  # whole, also where a line is short
        shown = own.json("dead", "show", first)
        assert (shown["function"], shown["attempts"], shown["replayable"]) == ("fail", 2, True)
        assert "raise ValueError" in shown["traceback"]

        (own.path / "mended").touch()
        assert own.json("dead", "replay", first)["replayed"] == [first]
        assert eventually(lambda: own.json("status", first)["state"] == "succeeded")
        refused = own.json("dead", "replay", first, code=1)
        assert refused["replayed"] == []
        assert refused["refused"][first]["code"] == "refused"

        own.run("dead", "discard", "--all", code=1, stdin="n\n")
        assert own.json("dead", "discard", "--all", "--yes")["discarded"] == [second]
        assert own.json("dead", "list") == []


class TestDoctor:
    def test_all_is_well_where_a_worker_runs(self, folder, up) -> None:
        report = folder.json("doctor")
        verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
        assert report["ok"] is True
        assert "fail" not in verdicts.values()
        assert {"versions", "registry", "mode", "server", "persistence", "eviction", "auth", "clock"} <= verdicts.keys()
        assert verdicts["workers"] == "ok"

    def test_a_server_that_is_not_there_fails_with_advice(self, folder) -> None:
        report = folder.json("doctor", "--url", "redis://127.0.0.1:1/0", code=1)
        (server,) = [check for check in report["checks"] if check["name"] == "server"]
        assert (report["ok"], server["verdict"]) == (False, "fail")
        assert server["advice"].startswith("start it")

    def test_a_look_leaves_no_server_behind(self, own) -> None:
        assert "started for this look" in own.run("doctor").stdout
        assert own.nothing_is_left()

    def test_a_server_that_was_started_in_another_folder_is_named(self, own, tmp_path) -> None:
        name = f"state-{os.getpid()}"  # nobody else's on this machine
        own.environment["DISPATCHER_STATE_DIR"] = name
        with EmbeddedServer(tmp_path / "elsewhere" / name):
            report = own.json("doctor")
        advices = {check["name"]: check["advice"] for check in report["checks"]}
        assert f"runs in {tmp_path / 'elsewhere' / name}" in advices["mode"]
        assert f"runs in {tmp_path / 'elsewhere' / name}" in advices["workers"]


class TestUp:
    def test_a_worker_that_dies_is_started_again_and_its_call_is_finished(self, own, start_up) -> None:
        running = start_up("--no-flower", "-c", "1")
        first = running.wait_for("started")
        running.wait_for("ready")
        waiting = own.start("call", "wait", "seconds=1", stdout=subprocess.PIPE)
        eventually(lambda: list(own.path.glob("waiting-*")))
        os.kill(first["pid"], signal.SIGKILL)
        assert running.wait_for("ended")["process"] == "worker-1"
        assert running.wait_for("started")["pid"] != first["pid"]
        out, _ = waiting.communicate(timeout=PATIENCE_SECONDS)
        assert (waiting.returncode, int(out) > 0) == (0, True)
        assert running.stop() == 130
        assert own.nothing_is_left()

    def test_the_server_is_started_again_with_all_it_held(self, own, start_up) -> None:
        running = start_up("--no-flower", "-c", "1")
        running.wait_for("ready")
        job = own.run("call", "add", "a=1", "--delay", "3s", "--no-wait").stdout.strip()
        time.sleep(1.2)  # the server's log reaches the disk once a second
        (server,) = [pid for pid, command in own.processes().items() if "server.conf" in command]
        os.kill(server, signal.SIGKILL)
        assert running.wait_for("ended")["process"] == "server"
        assert running.wait_for("started")["process"] == "server"
        assert eventually(lambda: own.json("status", job)["state"] == "succeeded")

    def test_ctrl_c_lets_a_call_finish_and_a_second_one_does_not_wait(self, own, start_up) -> None:
        running = start_up("--no-flower", "-c", "1")
        running.wait_for("ready")
        own.run("call", "wait", "seconds=30", "--no-wait")
        eventually(lambda: list(own.path.glob("waiting-*")))
        began = time.monotonic()
        running.process.send_signal(signal.SIGINT)
        running.wait_for("stopping")
        assert running.process.poll() is None
        assert running.stop() == 130
        assert time.monotonic() - began < 20
        assert own.nothing_is_left()

    def test_functions_that_cannot_be_loaded_end_it_before_anything_is_started(self, own) -> None:
        (own.path / "functions.py").write_text("1 / 0")
        error = own.json("up", code=1)["error"]
        assert "ZeroDivisionError" in error["message"]

    def test_the_dashboard_stands_beside_the_workers_and_asks_for_its_password(self, own, start_up) -> None:
        running = start_up("-c", "1")
        place = running.wait_for("flower")
        with pytest.raises(HTTPError) as refused:
            urlopen(place["address"], timeout=10)
        refused.value.close()
        assert refused.value.code == 401
        assert open_with_password(place) == 200
        assert running.stop() == 130

    def test_nothing_outlives_it_even_when_it_is_killed(self, own, start_up) -> None:
        running = start_up("-c", "1")
        running.wait_for("flower")
        running.process.kill()
        running.process.wait()
        # The server stays, with all its data, for whoever comes next; `doctor` takes it over and stops it.
        eventually(lambda: all("server.conf" in command for command in own.processes().values()))
        own.run("doctor")
        assert own.nothing_is_left()


def open_with_password(place: dict[str, str]) -> int:
    import base64

    password = Path(place["password_file"]).read_text().strip()
    token = base64.b64encode(f"{place['user']}:{password}".encode()).decode()
    with urlopen(Request(place["address"], headers={"Authorization": f"Basic {token}"}), timeout=10) as answer:
        return answer.status


class TestFlower:
    def test_it_runs_alone_until_ctrl_c(self, own) -> None:
        process = own.start("flower", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        place = json.loads(process.stdout.readline())
        assert open_with_password(place) == 200
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 130
        assert "shown once" in err
        assert own.nothing_is_left()


class TestWorker:
    def test_it_says_who_it_is_and_hands_celerys_options_on(self, own) -> None:
        words = ("worker", "--json", "-c", "1", "--", "--max-tasks-per-child=1")
        process = own.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert said == {"node": f"worker-{process.pid}@%h", "pid": process.pid, "functions": 4}
        one, other = (own.run("call", "wait", "seconds=0").stdout for _ in range(2))
        assert one != other
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, out) == (0, ""), err
        assert "Traceback" not in err
        assert own.nothing_is_left()

    def test_an_option_that_celery_does_not_know_is_wrong_use(self, own) -> None:
        done = own.run("worker", "--", "--no-such-option", code=2)
        assert "--no-such-option" in done.stderr


class TestDemo:
    @pytest.fixture
    def requests(self, own: Folder) -> Path:
        path = own.path / "requests.jsonl"
        path.write_text("".join(json.dumps(request) + "\n" for request in REQUESTS))
        return path

    def test_every_request_ends_in_an_outcome_or_a_stated_refusal(self, own, requests) -> None:
        report = own.json("demo", "--requests", str(requests), "--workers", "1")
        assert (report["requests"], report["accepted"], report["outcomes"]) == (5, 3, 3)
        assert report["endings"] == {"succeeded": 2, "refused": 2, "failed": 1}
        assert report["selection"] == {"right": 5, "of": 5}
        assert report["as_expected"] == {"right": 3, "of": 3}
        assert {refusal["code"] for refusal in report["refusals"]} == {"invalid_arguments", "no_function_selected"}
        assert report["flower"]["user"] == "flower"
        assert own.nothing_is_left()

    def test_people_get_a_table_and_a_verdict(self, own, requests) -> None:
        done = own.run("demo", "--requests", str(requests), "--workers", "1")
        assert "every accepted call has its outcome" in done.stdout
        assert "no_function_selected" in done.stdout
        assert "5/5" in done.stderr

    def test_kept_running_it_serves_other_terminals_until_ctrl_c(self, own, requests) -> None:
        process = own.start("demo", "--requests", str(requests), "--keep", "--json", stdout=subprocess.PIPE)
        report = read_document(process)
        assert own.run("call", "add", "a=1").stdout == "2\n"
        assert open_with_password(report["flower"]) == 200
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
        assert own.nothing_is_left()

    @pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_ended_in_the_middle_it_leaves_nothing_running(self, own, sign, code) -> None:
        path = own.path / "requests.jsonl"
        path.write_text(json.dumps({"text": "wait a while", "arguments": {"seconds": 60}}) + "\n")
        process = own.start("demo", "--requests", str(path))
        eventually(lambda: list(own.path.glob("waiting-*")))
        process.send_signal(sign)
        assert process.wait(PATIENCE_SECONDS) == code
        assert own.nothing_is_left()

    def test_a_killed_worker_costs_no_outcome(self, own) -> None:
        path = own.path / "requests.jsonl"
        path.write_text((json.dumps({"text": "wait a while", "arguments": {"seconds": 1}}) + "\n") * 4)
        process = own.start("demo", "--requests", str(path), "--json", stdout=subprocess.PIPE)
        eventually(lambda: list(own.path.glob("waiting-*")))
        workers = [pid for pid, command in own.processes().items() if "dispatcher worker" in command]
        os.killpg(min(workers), signal.SIGKILL)
        report = read_document(process)
        assert (report["accepted"], report["outcomes"]) == (4, 4)
        assert report["endings"] == {"succeeded": 4}
        process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
        assert own.nothing_is_left()

    def test_workers_that_cannot_start_end_it_with_the_end_of_their_log(self, own, requests) -> None:
        (own.path / "functions.py").write_text(
            FUNCTIONS + '\nimport sys\nif "worker" in sys.argv:\n    raise RuntimeError("not in a worker")\n'
        )
        done = own.run("demo", "--requests", str(requests), code=1)
        assert re.search(r"worker-[12] ended by itself with code 1", done.stderr)
        assert "RuntimeError: not in a worker" in done.stderr
        assert own.nothing_is_left()

    def test_an_outcome_that_does_not_come_in_time_is_exit_code_1(self, own) -> None:
        path = own.path / "requests.jsonl"
        path.write_text(json.dumps({"text": "wait a while", "arguments": {"seconds": 60}}) + "\n")
        report = own.json("demo", "--requests", str(path), "--timeout", "1s", code=1)
        assert (report["complete"], report["endings"]) == (False, {"missing": 1})
        assert own.nothing_is_left()


def read_document(process: "subprocess.Popen[str]") -> Any:
    """The JSON document that a process writes, without waiting for its end."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            break
    return json.loads("".join(lines))
