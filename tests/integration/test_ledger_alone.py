"""One plain job is taken by the scripts past what they do for many: what they answer and leave is the same."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from dispatcher.transport.message import Message
from dispatcher.transport.replies import Accepted, Lease, NoLease
from tests.integration.ledger_rig import TIMES, Rig, succeeded

NOW = datetime.now(UTC)


def left(rig: Rig, job_id: str) -> dict[str, Any]:
    """All there is of a job, without what is its own."""
    record = {name.decode(): value.decode() for name, value in rig.client.hgetall(rig.keys.job(job_id)).items()}
    accepted_ms, due = int(record["accepted_ms"]), rig.in_due(job_id)
    own = {*TIMES, "sequence", "shared"}
    return {
        "record": {name: "" if name in own else value for name, value in record.items()},
        "seconds kept": [round(rig.client.pttl(key) / 10_000) for key in (rig.keys.job(job_id), rig.keys.result(job_id))],
        "due": None if due is None else round((due - accepted_ms) / 10_000),
        "order": [rig.client.zscore(rig.keys.waiting(queue), job_id) == float(record["sequence"]) for queue in rig.waits_in(job_id)],
        "outcome": None if rig.stored(job_id) is None else rig.outcome(job_id),
    }  # fmt: skip


def told(lease: Lease | NoLease | Exception) -> Lease:
    assert isinstance(lease, Lease)
    return replace(lease, job_id="", time_left=timedelta(0), accepted_at=NOW, deadline_at=NOW)


def assert_alike(found: list[Any]) -> None:
    assert found[1:] == found[:1] * (len(found) - 1)


def test_it_leaves_what_it_leaves_among_others(rig: Rig) -> None:
    message = Message(list_key=f"{rig.keys.queues}default", text="wake up", first=0, last=0)
    alone, *others = jobs = [rig.job() for _ in range(3)]
    answers = [
        *rig.ledger.run(rig.commands.accept_many([alone], [message])),
        *rig.ledger.run(rig.commands.accept_many(others, [replace(message, last=1)])),
    ]
    assert [answer.sequence for answer in answers if isinstance(answer, Accepted)] == [1, 2, 3]
    assert rig.client.lrange(message.list_key, 0, -1) == [b"wake up"] * 2
    rig.client.delete(message.list_key)
    assert_alike([left(rig, job.id) for job in jobs])
    assert rig.waits_in(alone.id) == ["default"]

    several = rig.ledger.run(rig.commands.lease_many([job.id for job in others], "worker", "n"))
    before = rig.client.hget(f"{rig.keys.prefix}started", "default")
    leases = [rig.leased(alone.id, "n"), *several]
    assert rig.client.hget(f"{rig.keys.prefix}started", "default") == before, "they have come further"
    assert_alike([told(lease) for lease in leases])
    assert_alike([left(rig, job.id) for job in jobs])
    assert rig.runs(alone.id)

    settlements = [rig.commands.settle(job.id, 1, succeeded()) for job in jobs]
    words = [
        rig.ledger.run(settlements[0]),
        *rig.ledger.run(rig.commands.settle_together(settlements[1:])),
    ]
    assert words == ["settled"] * 3
    assert_alike([left(rig, job.id) for job in jobs])
    assert [rig.ledger.run(one) for one in settlements] == words, "a lost reply may be asked for again"
    assert rig.counts() == {"accepted": 3, "attempts": 3, "outcome:succeeded:text.count": 3}


def test_it_brings_its_queue_forward(rig: Rig) -> None:
    first, second = rig.waiting(), rig.waiting()
    started = [rig.leased(job_id) and rig.queues()["default"].started for job_id in (second, first)]
    assert started == [2, 2]
    progress = rig.client.hget(f"{rig.keys.prefix}started", "default").decode()
    assert progress == f"2 {rig.field(second, 'accepted_ms')}"
