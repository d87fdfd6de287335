"""The simulation of very many calls, with a few, on a real server."""

from pathlib import Path

import pytest

from benchmarks.scale.__main__ import measure_all
from benchmarks.scale.needs import Limits, Load, needed, shards


def test_a_small_run_measures_every_shape(tmp_path: Path) -> None:
    said: list[str] = []
    costs, upkeep = measure_all(tmp_path, 0.08, said.append)
    alone, together, *jobs, stock = costs.values()
    assert said[-1] == "sweeping, rewriting, restarting"
    assert set(costs) < set(said)
    # What the ledger does for a call is counted exactly: accept, pop, lease and settle.
    assert alone.requests == pytest.approx(4, abs=0.1)
    assert [cost.commands for cost in (alone, together, *jobs)] == sorted(
        (cost.commands for cost in (alone, together, *jobs)), reverse=True
    )
    for cost in costs.values():
        assert min(cost.waiting_bytes, cost.kept_bytes, cost.server_seconds, cost.producer_seconds) > 0
        assert min(cost.in_bytes, cost.out_bytes, cost.log_bytes) > 0
    assert together.kept_bytes < 0.8 * stock.kept_bytes, "our servers keep records in the compact form"
    assert upkeep.data_bytes > 0
    assert min(upkeep.rewrite_seconds, upkeep.fork_seconds, upkeep.sweep_seconds, upkeep.lost_seconds) > 0
    load = Load(calls_per_day=1e9, peak=10, kept_hours=24)
    assert shards(needed(alone, load), Limits()) > shards(needed(jobs[-1], load), Limits())
