"""Keys, commands and the Celery app: what is named, sent and set."""

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from redis.exceptions import ResponseError

import dispatcher.transport
from dispatcher import Registry
from dispatcher.errors import BacklogFullError, IdempotencyConflictError
from dispatcher.model.job import Job, JobState, Progress
from dispatcher.settings import Settings
from dispatcher.transport.app import CELERY_DEFAULT_QUEUE, create_app, queue_names
from dispatcher.transport.commands import Commands, milliseconds
from dispatcher.transport.keys import Keys
from dispatcher.transport.replies import STATUS_FIELDS, Accepted, Lease, NoLease, WakeUp, read_status
from dispatcher.transport.script import ALL_OTHERS, script, with_common

LUA = Path(dispatcher.transport.__file__).parent / "lua"
NAMES = sorted(path.stem for path in LUA.glob("*.lua") if path.stem != "common")
NOW = datetime(2030, 1, 1, tzinfo=UTC)
NOW_MS = b"1893456000000"

registry = Registry()


@registry.function
def add(a: int) -> int:
    """Add."""
    return a


@registry.function(queue="slow", priority="bulk")
def crunch(a: int) -> int:
    """Crunch."""
    return a


def job_with(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "id": "j", "function": "add", "version": "1", "calls": ("{}",), "queue": "q", "deadline": timedelta(seconds=9)
    }  # fmt: skip
    return Job(**{**values, **changes})


class TestKeys:
    keys = Keys("shop")

    def test_every_key_but_the_results_carries_the_namespace_as_hash_tag(self) -> None:
        made = [
            self.keys.job("j"), self.keys.announcements("p"), self.keys.waiting("q"), self.keys.node("n"),
            self.keys.cached("f", "d"), self.keys.due, self.keys.dead, self.keys.scheduled, self.keys.nodes,
            self.keys.counts,
        ]  # fmt: skip
        assert all(key.startswith("{shop}:") for key in made)
        assert len(set(made)) == len(made)

    def test_results_have_celerys_name_and_prefix(self) -> None:
        assert self.keys.result("j") == "celery-task-meta-j"
        assert Keys("shop", "{shop}:").result("j") == "{shop}:celery-task-meta-j"

    def test_the_scripts_use_the_same_names(self) -> None:
        text = "".join(path.read_text() for path in LUA.glob("*.lua"))
        used = set(re.findall(r"key\('([a-z]+)", text)) | set(re.findall(r"PREFIX \.\. '([a-z]+)", text))
        named = {name.removeprefix("{shop}:").partition(":")[0] for name in (
            self.keys.job("j"), self.keys.announcements("p"), self.keys.waiting("q"), self.keys.node("n"),
            self.keys.due, self.keys.dead, self.keys.scheduled, self.keys.nodes, self.keys.counts,
        )}  # fmt: skip
        assert named <= used, "every name that Python reads is one that a script writes"


class TestScripts:
    @pytest.mark.parametrize("name", NAMES)
    def test_each_begins_with_what_it_is_for_and_what_it_is_given(self, name: str) -> None:
        text = (LUA / f"{name}.lua").read_text()
        assert text.startswith("-- ")
        assert "-- KEYS: prefix" in text
        assert "-- Returns" in text or name == "garbage"

    def test_a_script_ends_with_its_own_part_and_is_read_once(self) -> None:
        made = script("heartbeat")
        assert made.text.endswith((LUA / "heartbeat.lua").read_text())
        assert len(made.sha) == 40
        assert script("heartbeat") is made

    def test_a_script_gets_of_the_common_part_what_it_uses_and_no_more(self) -> None:
        needed, through_it, spoken_of = "local A = 1", "local function b()\n\n  return A\nend", "local function c() end"
        own = "-- c, told of and not called\nreturn b()\n"
        common = f"{needed}\n\n{spoken_of}\n\n{through_it}\n"
        assert with_common(common, own) == f"{needed}\n\n{through_it}\n\n{own}"

    def test_what_it_does_at_once_comes_before_what_only_all_others_need(self) -> None:
        both, others = "local A = 1", "local function b()\n  return A\nend"
        own = f"if KEYS[2] then return A end\n{ALL_OTHERS}\nreturn b()\n"
        made = with_common(f"{both}\n\n{others}\n", own)
        assert made == f"{both}\n\nif KEYS[2] then return A end\n\n{others}\n\nreturn b()\n"

    @pytest.mark.parametrize("name", ["accept", "lease", "settle"])
    def test_what_a_call_runs_makes_no_function_for_a_plain_job(self, name: str) -> None:
        straight, mark, _ = (LUA / f"{name}.lua").read_text().partition(ALL_OTHERS)
        assert mark
        before, _, _ = script(name).text.partition(straight.rpartition("\n\n")[2])
        assert "function" not in re.sub(r"--.*|'[^'\n]*'", "", before + straight)

    @pytest.mark.parametrize("name", NAMES)
    def test_each_defines_whatever_it_uses_of_the_common_part_before_it_uses_it(self, name: str) -> None:
        defined = r"^local (?:function )?(\w+)"
        common = set(re.findall(defined, (LUA / "common.lua").read_text(), re.MULTILINE))
        code = re.sub(r"--.*|'[^'\n]*'", "", script(name).text)
        words = Counter(re.findall(r"\w+", code))
        for used in common & set(words):
            assert words[used] > 1, f"{used} is there and not used"
            first = re.search(rf"\b{used}\b", code)
            assert first is not None
            line = code[code.rfind("\n", 0, first.start()) + 1 :].partition("\n")[0]
            assert re.match(defined, line), f"{used} is used before it is there"


class TestCommands:
    commands = Commands(Settings(namespace="shop", max_backlog=5))

    def test_an_idempotency_key_is_a_digest_in_names_and_belongs_to_its_function(self) -> None:
        given = json.loads(str(self.commands.accept(job_with(idempotency_key="a:b\n{c}")).args[-1]))
        assert re.fullmatch(r"add:[0-9a-f]{64}", given["idempotency"])
        assert given["idempotency_key"] == "a:b\n{c}"
        assert self.commands.accept(job_with()).args[-1] == ""

    def test_what_jobs_have_in_common_is_said_once(self) -> None:
        jobs = [job_with(id=name) for name in "abc"]
        other = job_with(id="d", delivery="at_most_once")
        args = self.commands.accept_many([*jobs, other]).args
        assert args.count("function") == 2
        assert [args[args.index(name) - 1] for name in "ad"] == [jobs[0].producer, "at_most_once"]
        assert [args.index(name) - args.index("a") for name in "bc"] == [4, 8]

    def test_acceptance_is_read(self) -> None:
        read = self.commands.accept(job_with(idempotency_key="k")).read
        assert read([[b"accepted", b"j", NOW_MS, b"7"]]) == Accepted(job_id="j", deadline_at=NOW, new=True, sequence=7)
        assert read([[b"known", b"j", NOW_MS, b"7"]]).new
        assert not read([[b"repeated", b"other", NOW_MS, b"0"]]).new
        with pytest.raises(BacklogFullError, match="5 waiting jobs"):
            read([[b"backlog"]])
        with pytest.raises(IdempotencyConflictError, match="belongs to job other"):
            read([[b"conflict", b"other"]])
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            read([[b"error", b"WRONGTYPE Operation against a key"]])

    def test_a_lease_is_read_with_the_time_left_by_the_servers_clock(self) -> None:
        read = self.commands.lease("j", "w", "n").read
        later = str(int(NOW_MS) + 1500).encode()
        lease = read([[b"leased", b"3", b"1", b"1", NOW_MS, later, NOW_MS, b"add", b"", b"at_most_once", b"{}", b""]])
        assert isinstance(lease, Lease)
        assert (lease.token, lease.failures, lease.lost) == (3, 1, 1)
        assert lease.time_left == timedelta(seconds=1.5)
        assert lease.delivery == "at_most_once"
        assert read([[b"settled:failed"]]) == NoLease("settled:failed")

    def test_a_reply_in_text_is_read_as_one_in_bytes(self) -> None:
        assert self.commands.cancel("j", reason="", hard=False).read("requested") == "requested"  # type: ignore[arg-type]

    def test_a_heartbeat_sends_progress_as_json_and_silence_as_nothing(self) -> None:
        command = self.commands.heartbeat([("a", 1, Progress(done=1, message="é")), ("b", 2, None)])
        assert command.args[1:3] == ("a", 1)
        assert json.loads(str(command.args[3])) == [1, None, "é"]
        assert command.args[4:] == ("b", 2, "")

    def test_the_sweep_is_held_for_longer_than_it_pauses(self) -> None:
        settings = Settings(sweep_interval_seconds=2)
        assert Commands(settings).due("n", 10).args == ("n", 8000, 10)
        assert self.commands.due("n", 10).read(b"elsewhere") is None  # type: ignore[arg-type]
        assert self.commands.due("n", 10).read([]) == []

    def test_a_look_is_read(self) -> None:
        read = self.commands.look("j").read
        assert read([b"nothing"]).wake_up is None
        published = read([b"publish", b"add", b"q", b"{}", b"1", b"2"])
        assert published.wake_up == WakeUp(job_id="j", function="add", queue="q", shown="{}", head=True, attempts=2)

    def test_all_waiting_jobs_or_those_before_a_number(self) -> None:
        assert self.commands.lost("q", started=None, limit=1).args[1] == "+inf"
        assert self.commands.lost("q", started=7, limit=1).args[1] == "(7"

    @given(st.timedeltas())
    def test_milliseconds_are_never_negative_nor_beyond_what_the_server_can_hold(self, duration: timedelta) -> None:
        assert 0 <= milliseconds(duration) <= 10**13


class TestStatus:
    def row(self, **changes: bytes | None) -> list[bytes | None]:
        values: dict[str, bytes | None] = {
            "function": b"add", "queue": b"q", "state": b"running", "calls": b"1", "attempt": b"2", "failures": b"1",
            "lost": b"0", "accepted_ms": NOW_MS, "deadline_ms": NOW_MS, "started_ms": NOW_MS, "worker": b"w",
        }  # fmt: skip
        values |= changes
        return [values.get(name) for name in STATUS_FIELDS]

    def test_it_is_read(self) -> None:
        status = read_status("j", self.row(progress=b'[1, 2, "half"]', cancel=b""))
        assert status is not None
        assert (status.state, status.attempt, status.started_at, status.due_at) == (JobState.RUNNING, 2, NOW, None)
        assert status.progress == Progress(done=1, total=2, message="half")
        assert status.cancel_requested, "also when no reason was given"

    def test_neither_nothing_nor_garbage_is_a_job(self) -> None:
        assert read_status("j", [None] * len(STATUS_FIELDS)) is None
        assert read_status("j", self.row(state=b"garbage")) is None


class TestApp:
    def test_each_queue_has_its_priorities_and_celerys_own_is_served_too(self) -> None:
        assert queue_names(registry) == [
            "default.high", "default", "default.bulk", "slow.high", "slow", "slow.bulk", CELERY_DEFAULT_QUEUE,
        ]  # fmt: skip

    def test_functions_are_routed_to_their_queues(self) -> None:
        app = create_app(Settings(), "redis://localhost:1/0", registry)
        assert app.conf.task_routes == {"add": {"queue": "default"}, "crunch": {"queue": "slow.bulk"}}
        assert set(app.amqp.queues) == set(queue_names(registry))

    def test_a_broker_of_its_own_carries_messages_and_nothing_else(self) -> None:
        settings = Settings(broker_url=SecretStr("amqp://broker//"))
        app = create_app(settings, "redis://localhost:1/0", registry)
        assert app.conf.broker_url == "amqp://broker//"
        assert app.conf.result_backend.startswith("redis://localhost:1")

    def test_a_broker_of_redis_may_be_spelled_as_the_server_may(self) -> None:
        settings = Settings(broker_url=SecretStr("unix:///run/valkey.sock"))
        assert create_app(settings, "redis://localhost:1/0").conf.broker_url.startswith("redis+socket://")

    def test_only_the_default_namespace_has_queues_without_a_prefix(self) -> None:
        for namespace, prefix in (("dispatcher", ""), ("shop", "{shop}:queue:")):
            conf = create_app(Settings(namespace=namespace), "redis://localhost:1/0").conf
            assert conf.broker_transport_options["global_keyprefix"] == prefix

    def test_no_guarantee_rests_on_celery_and_nothing_waits_for_ever(self) -> None:
        conf = create_app(Settings(), "redis://localhost:1/0").conf
        assert conf.task_acks_late is False
        assert conf.broker_transport_options["ack_emulation"] is False
        assert conf.worker_prefetch_multiplier == 1
        assert conf.worker_cancel_long_running_tasks_on_connection_loss is False
        assert conf.accept_content == ["json"]
        for timeout in ("socket_timeout", "socket_connect_timeout"):
            assert 0 < conf.broker_transport_options[timeout] <= 30
            assert 0 < conf[f"redis_{timeout}"] <= 30

    def test_results_live_as_long_as_ours_under_the_prefix_that_is_set(self) -> None:
        conf = create_app(Settings(result_prefix="{shop}:", result_ttl_seconds=77), "redis://localhost:1/0").conf
        assert conf.result_backend_transport_options == {"global_keyprefix": "{shop}:"}
        assert conf.result_expires == 77
