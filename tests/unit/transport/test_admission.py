"""Which jobs share a wake-up, and what becomes of each when they are accepted together."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

import pytest
from redis.exceptions import OutOfMemoryError

from dispatcher.errors import BacklogFullError
from dispatcher.model.job import Job
from dispatcher.settings import Settings
from dispatcher.transport.admission import ALONE, TOGETHER, Admission, group
from dispatcher.transport.commands import Commands
from dispatcher.transport.guard import check
from dispatcher.transport.ledger import AsyncLedger
from dispatcher.transport.message import OTHERS_HEADER, named_jobs, write_message, write_plain_message
from dispatcher.transport.publisher import Publisher
from dispatcher.transport.replies import WakeUp
from dispatcher.transport.script import Command


def job_with(number: int, **changes: Any) -> Job:
    fields: dict[str, Any] = {
        "id": f"job-{number}",
        "function": "add",
        "version": "1",
        "calls": ("{}",),
        "queue": "default",
        "deadline": timedelta(minutes=1),
    }
    return Job(**(fields | changes))


class Server:
    """Answers an acceptance as the script does; and takes wake-ups, as a publisher does."""

    def __init__(self) -> None:
        self.asked: list[Command[Any]] = []
        self.refuse: dict[str, list[bytes]] = {}
        self.failure: Exception | None = None
        self.published: list[WakeUp] = []

    async def run_many_settled(self, commands: Sequence[Command[Any]]) -> list[Any]:
        self.asked += commands
        return [self.failure or command.read(self._replies(command)) for command in commands]

    def put(self, wake_up: WakeUp) -> None:
        self.published.append(wake_up)

    def _replies(self, command: Command[Any]) -> list[list[bytes]]:
        ids = [word for word in command.args if str(word).startswith("job-")]
        count = int(command.args[3])
        default = [b"accepted", b"?", b"1700000000000", b"1"]
        return [self.refuse.get(str(job_id), default) for job_id in ids[:count]]


def admission(server: Server, list_prefix: str | None) -> Admission:
    ledger, publisher = cast("AsyncLedger", server), cast("Publisher", server)
    return Admission(ledger, Commands(Settings()), publisher, origin="producer-1", list_prefix=list_prefix)


def messages_in(command: Command[Any]) -> list[tuple[str, int, int, dict[str, Any]]]:
    """List, first job, last job and message of each message that a command carries."""
    found = []
    for at, word in enumerate(command.args):
        if isinstance(word, str) and word.startswith('{"body"'):
            key, first, last = (int(number) for number in command.args[at - 3 : at])
            found.append((command.keys[key - 1], first, last, json.loads(word)))
    return found


async def test_a_few_jobs_of_a_function_travel_alone() -> None:
    server = Server()
    await admission(server, "").accept([job_with(number) for number in range(ALONE)])
    sent = messages_in(server.asked[0])
    assert [(key, first, last) for key, first, last, _ in sent] == [("default", n, n) for n in range(1, ALONE + 1)]
    assert not any(OTHERS_HEADER in message["headers"] for *_, message in sent)


async def test_many_share_wake_ups_of_a_bounded_size_and_each_is_named_once() -> None:
    server, jobs = Server(), [job_with(number) for number in range(TOGETHER + 10)]
    await admission(server, "{apart}:queue:").accept(jobs)
    sent = messages_in(server.asked[0])
    assert [(key, first, last) for key, first, last, _ in sent] == [
        ("{apart}:queue:default", 1, TOGETHER),
        ("{apart}:queue:default", TOGETHER + 1, TOGETHER + 10),
    ]
    named = [name for *_, message in sent for name in named_jobs(message["headers"]["id"], message["headers"])]
    assert named == [job.id for job in jobs]
    assert sent[0][3]["headers"]["kwargsrepr"] == f"{TOGETHER} jobs, the first: {{}}"


async def test_jobs_of_another_function_or_queue_or_time_share_none() -> None:
    server = Server()
    jobs = [
        *(job_with(number) for number in range(10)),
        *(job_with(number, function="other") for number in range(10, 20)),
        *(job_with(number, queue="default.high") for number in range(20, 30)),
        *(job_with(number, delay=timedelta(seconds=1)) for number in range(30, 40)),
    ]
    await admission(server, "").accept(jobs)
    sent = messages_in(server.asked[0])
    assert [(key, first, last, message["headers"]["task"]) for key, first, last, message in sent] == [
        ("default", 1, 10, "add"),
        ("default", 11, 20, "other"),
        ("default.high", 21, 30, "add"),
    ], "what waits for its time is published by the sweeper"


def test_those_that_may_share_are_brought_side_by_side_in_their_own_order() -> None:
    mixed = [job_with(number, function="add" if number % 2 else "other") for number in range(6)]
    assert [job.id for job in group(mixed, lambda job: job)] == [f"job-{n}" for n in (0, 2, 4, 1, 3, 5)]


async def test_a_refusal_of_one_is_its_own_entry() -> None:
    server = Server()
    server.refuse = {"job-1": [b"backlog"], "job-2": [b"error", b"WRONGTYPE"]}
    answers = await admission(server, "").accept([job_with(number) for number in range(4)])
    assert [type(answer).__name__ for answer in answers] == [
        "Accepted",
        "BacklogFullError",
        "ResponseError",
        "Accepted",
    ]
    assert isinstance(answers[1], BacklogFullError)


async def test_a_server_that_refuses_the_whole_refuses_each() -> None:
    server = Server()
    server.failure = OutOfMemoryError("command not allowed")
    assert await admission(server, "").accept([job_with(1), job_with(2)]) == [server.failure] * 2


async def test_with_a_broker_of_another_kind_what_was_accepted_is_published_through_kombu() -> None:
    server = Server()
    server.refuse = {"job-3": [b"backlog"], "job-4": [b"repeated", b"first", b"1700000000000", b"0"]}
    await admission(server, None).accept([job_with(number) for number in range(12)])
    assert messages_in(server.asked[0]) == []
    assert [named_jobs(one.job_id, {OTHERS_HEADER: list(one.others)}) for one in server.published] == [
        [f"job-{number}" for number in range(12) if number not in {3, 4}]
    ]


async def test_nothing_is_asked_for_nothing() -> None:
    server = Server()
    assert await admission(server, "").accept([]) == []
    assert server.asked == []


@pytest.mark.parametrize("others", [(), ("job-2", "job-3")])
def test_what_is_written_passes_the_guard(others: tuple[str, ...]) -> None:
    wake_up = WakeUp(job_id="job-1", function="add", queue="default", shown='{"a":"\u00e4"}', others=others)
    text = write_message(wake_up, "producer-1").encode()
    verdict = check(text, max_bytes=10_000, known_tasks={"add"})
    assert verdict.payload is not None, verdict.reason
    payload = cast("dict[str, Any]", verdict.payload)
    assert named_jobs(payload["headers"]["id"], payload["headers"]) == ["job-1", *others]


@pytest.mark.parametrize("shown", ["{}", '{"a":"\u00e4 \\"\n"}', "x" * 2_000])
def test_what_is_written_for_a_job_alone_is_what_is_written_for_any(shown: str) -> None:
    for job_id in ("job-1", "job-2"):
        text = write_plain_message(job_id, shown, function="add", queue="default.high", origin="producer-1")
        any_text = write_message(WakeUp(job_id=job_id, function="add", queue="default.high", shown=shown), "producer-1")
        ours, theirs = json.loads(text), json.loads(any_text)
        tags = {one["properties"].pop("delivery_tag") for one in (ours, theirs)}
        assert ours == theirs
        assert len(tags) == 2, "each delivery has a tag of its own"
        assert len(text) == len(any_text)
