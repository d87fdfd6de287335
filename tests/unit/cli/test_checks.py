"""The doctor's judgement, without a server."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.cli import checks
from dispatcher.transport.connection import ServerFacts
from dispatcher.transport.nodes import NodeReport
from dispatcher.transport.replies import QueueState

GOOD = ServerFacts(
    address="redis://127.0.0.1:6379/0",
    kind="valkey",
    version=(9, 1, 2),
    aof_enabled=True,
    appendfsync="everysec",
    maxmemory_bytes=0,
    maxmemory_policy="noeviction",
    used_memory_bytes=1_000_000,
    role="master",
    cluster_enabled=False,
    auth_required=True,
)
NODE = NodeReport(
    hostname="worker-1@host",
    pid=1,
    pool="prefork",
    concurrency=2,
    active=0,
    queues=("default",),
    fingerprint="f" * 64,
    versions={},
    up_for=timedelta(minutes=1),
)


def queue(name: str = "default", waiting: int = 1, seconds: float = 0.0) -> QueueState:
    return QueueState(name=name, waiting=waiting, started=0, oldest=timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("check", "changes", "verdict"),
    [
        (checks.check_role, {}, "ok"),
        (checks.check_role, {"role": "slave"}, "fail"),
        (checks.check_role, {"cluster_enabled": True}, "warn"),
        (checks.check_persistence, {}, "ok"),
        (checks.check_persistence, {"appendfsync": "always"}, "ok"),
        (checks.check_persistence, {"appendfsync": "no"}, "warn"),
        (checks.check_persistence, {"aof_enabled": False}, "warn"),
        (checks.check_persistence, {"aof_enabled": None}, "warn"),
        (checks.check_eviction, {}, "ok"),
        (checks.check_eviction, {"maxmemory_policy": "allkeys-lru"}, "fail"),
        (checks.check_eviction, {"maxmemory_policy": "volatile-ttl"}, "fail"),
        (checks.check_eviction, {"maxmemory_policy": None}, "warn"),
        (checks.check_memory, {}, "ok"),
        (checks.check_memory, {"maxmemory_bytes": 2_000_000}, "ok"),
        (checks.check_memory, {"maxmemory_bytes": 1_250_000}, "warn"),
        (checks.check_memory, {"maxmemory_bytes": 1_010_000}, "fail"),
        (checks.check_memory, {"used_memory_bytes": None, "maxmemory_bytes": 10}, "ok"),
    ],
)
def test_the_server_is_judged_by_what_it_says_of_itself(check, changes, verdict) -> None:
    assert check(replace(GOOD, **changes)).verdict == verdict


@pytest.mark.parametrize(
    ("url", "auth_required", "verdict"),
    [
        ("redis://127.0.0.1:6379/0", True, "ok"),
        ("redis://127.0.0.1:6379/0", False, "ok"),
        ("redis+socket:///run/valkey.sock", False, "ok"),
        ("redis://db.example:6379/0", False, "fail"),
        ("redis://db.example:6379/0", True, "warn"),
        ("rediss://db.example:6379/0", True, "ok"),
        ("rediss://db.example:6379/0", None, "warn"),
    ],
)
def test_a_server_on_the_network_must_ask_for_a_password(url, auth_required, verdict) -> None:
    assert checks.check_auth(url, replace(GOOD, auth_required=auth_required)).verdict == verdict


@pytest.mark.parametrize(("seconds", "verdict"), [(0.2, "ok"), (-0.9, "ok"), (2, "warn"), (-2, "warn"), (400, "fail")])
def test_clocks_may_differ_by_less_than_a_second(seconds, verdict) -> None:
    assert checks.check_clock(timedelta(seconds=seconds)).verdict == verdict


def test_no_worker_is_a_warning_and_with_waiting_jobs_a_failure() -> None:
    assert checks.check_workers([], [], None).verdict == "warn"
    assert checks.check_workers([], [queue()], None).verdict == "fail"
    assert checks.check_workers([NODE], [queue()], None).verdict == "ok"


def test_one_node_is_a_node() -> None:
    assert checks.check_workers([replace(NODE, concurrency=1)], [], None).found.startswith("1 node, 1 call at once: ")
    assert checks.check_workers([NODE, NODE], [], None).found.startswith("2 nodes, 4 calls at once: ")


def test_a_variable_that_is_no_setting_is_named_with_what_it_may_have_meant() -> None:
    known = {"DISPATCHER_LEASE_SECONDS", "DISPATCHER_URL"}
    names = ["DISPATCHER_URL", "dispatcher_url", "DISPATCHER_LEASE", "DISPATCHER_BENCH_DATA", "HOME"]
    found = list(checks.check_variables([*names, "DISPATCHER_COLOUR"], known))
    assert [(check.verdict, check.found.partition(" ")[0]) for check in found] == [
        ("warn", "DISPATCHER_COLOUR"),
        ("warn", "DISPATCHER_LEASE"),
    ]
    assert "docs/settings.md" in found[0].advice
    assert found[1].advice == "did you mean DISPATCHER_LEASE_SECONDS?"


def test_a_worker_with_other_functions_than_here_is_named() -> None:
    check = checks.check_workers([NODE, replace(NODE, hostname="old@host", fingerprint="e")], [], NODE.fingerprint)
    assert check.verdict == "warn"
    assert "other functions than here on old@host" in check.found


def test_a_queue_is_well_while_its_jobs_are_young_and_somebody_listens() -> None:
    assert checks.check_queues([queue(waiting=0, seconds=900)], []).verdict == "ok"
    assert checks.check_queues([queue(seconds=5)], [NODE]).verdict == "ok"
    assert checks.check_queues([queue(seconds=61)], [NODE]).verdict == "warn"
    unheard = checks.check_queues([queue("slow")], [NODE])
    assert unheard.verdict == "fail"
    assert "no node listens to slow" in unheard.advice


def test_without_a_worker_a_server_elsewhere_is_named() -> None:
    assert "server runs in /srv" in checks.check_workers([], [], None, "another server runs in /srv").advice
    assert checks.check_workers([NODE], [], None, "another server runs in /srv").advice == ""


def test_a_queue_that_a_function_names_and_nobody_listens_to_is_named_before_anything_waits_there() -> None:
    (check,) = checks.check_listeners({NODE.queues[0]: "add", "gpu": "draw"}, [NODE])
    assert (check.verdict, check.found) == ("warn", "no node listens to gpu (as of draw)")
    assert "--queues gpu" in check.advice
    assert list(checks.check_listeners({NODE.queues[0]: "add"}, [NODE])) == []
    assert list(checks.check_listeners({"gpu": "draw"}, [])) == [], "that no node is up is said already"


def test_dead_letters_are_a_warning() -> None:
    assert checks.check_dead(0).verdict == "ok"
    assert checks.check_dead(3).verdict == "warn"


@given(st.sampled_from(["master", "slave", "unknown"]), st.booleans(), st.none() | st.integers(0, 10**12))
def test_whatever_is_not_well_comes_with_advice(role, aof, most) -> None:
    facts = replace(GOOD, role=role, aof_enabled=aof, maxmemory_bytes=most)
    for check in (checks.check_role, checks.check_persistence, checks.check_eviction, checks.check_memory):
        made = check(facts)
        assert bool(made.advice) == (made.verdict != "ok")
