"""What the benchmark of calls computes: processor time by who used it, medians, figures, what takes part."""

import re
from collections import Counter
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

import benchmarks.calls.bench
from benchmarks.calls import __main__ as command
from benchmarks.calls import environments, figures
from benchmarks.calls.app import quick, registry, waiting
from benchmarks.calls.bench import CALLS, QUICK_CALLS, Bench
from benchmarks.calls.contestants import CELERY, CONTESTANTS, OURS, Contestant, Place
from benchmarks.calls.cpu import Process, Split, cpu_seconds, read_stat, resident, tree
from benchmarks.calls.figures import TARGETS, TITLES, compare
from benchmarks.calls.hotspots import commands_between
from benchmarks.calls.peers.producing import QUICK, WAITING, answer, rows
from benchmarks.calls.processes import BenchError
from benchmarks.calls.runs import Median, Run, in_rounds, median_of

TICKS = 100


@pytest.fixture(autouse=True)
def ticks(monkeypatch):
    monkeypatch.setattr("benchmarks.calls.cpu._TICKS", TICKS)


class TestProcesses:
    STAT = "42 (a) b (c) S 7 42 42 0 -1 4194560 9 0 0 0 11 22 33 44 20 0 1 0 5 1000 250 18446744073709551615 1 1 0 0"

    def test_a_stat_line_is_read_whatever_the_program_is_called(self) -> None:
        process = read_stat(self.STAT)
        assert (process.pid, process.parent) == (42, 7)

    def test_processor_time_is_own_and_of_children_that_ended(self) -> None:
        assert cpu_seconds([read_stat(self.STAT)]) == (11 + 22 + 33 + 44) / TICKS

    def test_resident_memory_is_counted_in_pages(self, monkeypatch) -> None:
        monkeypatch.setattr("benchmarks.calls.cpu._PAGE", 4096)
        assert resident([read_stat(self.STAT)]) == 250 * 4096

    def test_a_tree_is_the_roots_and_all_below_them(self) -> None:
        parents = {1: 0, 2: 1, 3: 2, 4: 1, 5: 0, 6: 5}
        processes = {pid: Process(pid=pid, parent=parent, ticks=0, resident_bytes=0) for pid, parent in parents.items()}
        assert sorted(process.pid for process in tree([2, 5, 99], processes)) == [2, 3, 5, 6]

    def test_a_split_is_what_was_used_in_between_for_each_call(self) -> None:
        before = Split(producer=1, worker=2, server=3)
        used = Split(producer=2, worker=5, server=3.5).since(before)
        assert used.total == 4.5
        assert used.per(10) == Split(producer=0.1, worker=0.3, server=0.05)


def run(contestant=OURS, work="map", calls=100, seconds=1.0, cpu=0.1, latencies=()):
    split = Split(producer=cpu, worker=0, server=0)
    return Run(contestant=contestant, work=work, calls=calls, seconds=seconds, cpu=split, latencies=latencies)


def median(contestant, work="map", calls=100, seconds=1.0, p50=None, p99=None) -> Median:
    split = Split(producer=1e-5, worker=2e-5, server=3e-5)
    rate = calls / seconds
    return Median(
        contestant=contestant, work=work, calls=calls, rounds=3, seconds=seconds, rate=rate, cpu=split, p50=p50, p99=p99
    )


class TestMedians:
    def test_each_number_has_its_own_median(self) -> None:
        runs = [run(seconds=1, cpu=3), run(seconds=2, cpu=1), run(seconds=4, cpu=2)]
        middle = median_of(runs)
        assert (middle.seconds, middle.rate, middle.rounds) == (2, 50, 3)
        assert middle.cpu.total == pytest.approx(0.02)
        assert (middle.p50, middle.p99) == (None, None)

    def test_latencies_are_taken_run_by_run(self) -> None:
        middle = median_of([run(latencies=[1.0]), run(latencies=[9.0]), run(latencies=[2.0, 2.0])])
        assert (middle.p50, middle.p99) == (2, 2)


class TestRounds:
    PLACES = tuple(
        Place(contestant=CONTESTANTS[name](), programs=Path(), environment={}) for name in (OURS, CELERY, "huey")
    )

    def test_everybody_runs_once_in_each_round(self) -> None:
        order = []

        def one(place):
            order.append(place.contestant.name)
            return run(contestant=place.contestant.name)

        assert len(in_rounds(2, self.PLACES, one, lambda _: None)) == 6
        assert order == [OURS, CELERY, "huey"] * 2

    def test_one_that_fails_is_told_of_and_left_out_from_then_on(self) -> None:
        told = []

        def one(place):
            if place.contestant.name == CELERY:
                message = "no worker"
                raise BenchError(message)
            return run(contestant=place.contestant.name)

        runs = in_rounds(2, self.PLACES, one, told.append)
        assert [one.contestant for one in runs] == [OURS, "huey"] * 2
        assert [text for text in told if "no worker" in text] == ["celery could not be measured: no worker"]


def bench_of(folder, names, *, rounds=2, quick_look=False) -> Bench:
    return Bench(
        server=SimpleNamespace(url="redis://nowhere"),
        folder=folder,
        rounds=rounds,
        quick=quick_look,
        names=names,
        long=1,
        note=lambda _: None,
    )


class TestBench:
    @pytest.fixture(autouse=True)
    def parts(self, monkeypatch):
        """Celery fails in the second round; RQ's environment cannot be made."""
        rounds = Counter()

        def place(name, *_):
            if name == "rq":
                message = "no such package"
                raise BenchError(message)
            return Place(contestant=CONTESTANTS[name](), programs=Path(), environment={})

        def run_once(_server, chosen, work, calls, _folder):
            name = chosen.contestant.name
            rounds[name] += 1
            if (name, rounds[name]) == (CELERY, 2):
                message = "no worker"
                raise BenchError(message)
            return run(contestant=name, work=work, calls=calls)

        monkeypatch.setattr(benchmarks.calls.bench, "place", place)
        monkeypatch.setattr(benchmarks.calls.bench, "run_once", run_once)

    def test_who_did_not_finish_is_missing_and_the_others_are_compared(self, tmp_path) -> None:
        bench = bench_of(tmp_path, [OURS, CELERY, "huey", "rq"])
        bench.with_peers("map")
        assert bench.missing == ["rq: map", "celery: map"]
        assert [(one.contestant, one.rounds) for one in bench.medians] == [(OURS, 2), (CELERY, 1), ("huey", 2)]
        assert next(one for one in bench.figures if one.measure == figures.AGAINST_FASTEST).value == 20

    def test_results_are_saved_after_each_part_whatever_became_of_it(self, tmp_path) -> None:
        bench, saved = bench_of(tmp_path, [OURS]), []

        def failing(_bench):
            message = "no memory"
            raise BenchError(message)

        parts = {"map": partial(Bench.with_peers, work="map"), "idle": failing}
        command.measure(bench, parts, lambda: saved.append((len(bench.medians), list(bench.missing))))
        assert saved == [(1, []), (1, ["idle"])]


def by_measure(medians) -> dict[str, figures.Figure]:
    return {figure.measure: figure for figure in compare(medians)}


class TestFigures:
    def test_rates_are_held_against_celery_and_against_the_fastest(self) -> None:
        found = by_measure([median(OURS, calls=5000), median(CELERY, calls=100), median("huey", calls=500)])
        assert (found[figures.AGAINST_CELERY].value, found[figures.AGAINST_CELERY].held) == (50, True)
        assert (found[figures.AGAINST_FASTEST].value, found[figures.AGAINST_FASTEST].held) == (10, True)
        assert found[figures.AGAINST_FASTEST].note == "huey 500/s"
        assert found[figures.CPU].value == pytest.approx(6e-5)

    def test_one_call_is_held_against_celery_and_against_itself(self) -> None:
        single = [median(OURS, "single", p50=2, p99=7), median(CELERY, "single", p50=4, p99=8)]
        found = by_measure([*single, median("huey", "single", p50=1, p99=2)])
        assert (found[figures.AGAINST_CELERY].value, found[figures.AGAINST_CELERY].held) == (0.5, True)
        assert (found[figures.P99_TO_P50].value, found[figures.P99_TO_P50].held) == (3.5, False)
        assert found[figures.AGAINST_FASTEST].value == 2

    def test_times_are_held_only_against_those_of_as_many_calls(self) -> None:
        found = by_measure(
            [
                median(OURS, "wait-separate", 2000, 1.0),
                median("huey", "wait-separate", 2000, 2.0),
                median("saq", "wait-separate", 500, 0.1),
            ]
        )
        assert (found[figures.AGAINST_FASTEST].value, found[figures.AGAINST_FASTEST].held) == (0.5, True)

    def test_without_peers_nothing_is_held_against_them(self) -> None:
        for work in CALLS:
            for figure in compare([median(OURS, work, p50=1, p99=2)]):
                if figure.measure in {figures.AGAINST_CELERY, figures.AGAINST_FASTEST}:
                    assert (figure.value, figure.held) == (None, None)

    def test_without_us_there_are_no_figures(self) -> None:
        assert compare([median(CELERY)]) == []

    def test_every_target_is_of_work_that_can_be_chosen(self) -> None:
        chosen = command.choose(None, list(CONTESTANTS))
        assert {work for work, _ in TARGETS} <= set(chosen) == set(TITLES)


class TestChoice:
    def test_only_what_is_asked_for_is_measured(self) -> None:
        assert list(command.choose(["cache", "map"], [OURS])) == ["map", "cache"]

    @pytest.mark.parametrize(
        ("only", "names", "said"), [(["tea"], [OURS], "'tea'; there are map"), (None, ["tea"], "'tea'; there are disp")]
    )
    def test_what_there_is_not_is_refused(self, only, names, said) -> None:
        with pytest.raises(BenchError, match=re.escape(said)):
            command.choose(only, names)

    @pytest.mark.parametrize(
        ("quick_look", "name", "calls"),
        [(False, OURS, 100_000), (False, "huey", 5_000), (True, OURS, 10_000), (True, "huey", 500), (True, "rq", 50)],
    )
    def test_peers_are_given_less_to_do(self, tmp_path, quick_look, name, calls) -> None:
        bench = bench_of(tmp_path, [name], quick_look=quick_look)
        place = Place(contestant=CONTESTANTS[name](), programs=tmp_path, environment={})
        assert bench.calls_of(place, "map") == calls

    def test_a_first_look_is_at_the_same_work(self) -> None:
        assert QUICK_CALLS.keys() == CALLS.keys()


PEERS = sorted(CONTESTANTS.keys() - {OURS})


class TestPeers:
    @pytest.mark.parametrize("name", PEERS)
    def test_each_has_plain_pins(self, name) -> None:
        lines = (environments.PINS / f"{name}.txt").read_text().splitlines()
        assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
        assert name in environments.pinned(name)

    @pytest.mark.parametrize("name", [OURS, *PEERS])
    def test_each_has_a_producer_and_two_worker_processes(self, name) -> None:
        contestant: Contestant = CONTESTANTS[name]()
        assert contestant.name == name
        assert find_spec(contestant.producer) is not None
        assert contestant.processes >= 2
        assert contestant.workers

    def test_no_command_line_shows_the_servers_password(self) -> None:
        for made in CONTESTANTS.values():
            place = Place(contestant=made(), programs=Path("bin"), environment={"BENCH_URL": "redis://:secret@host"})
            commands = [*place.workers(waiting=False), *place.workers(waiting=True), place.producer("map", 1)]
            assert not any("secret" in word for line in commands for word in line.argv)

    def test_an_environment_is_made_again_when_its_pins_change(self, tmp_path, monkeypatch) -> None:
        made = []
        pins, kept = tmp_path / "pins", tmp_path / "kept"
        pins.mkdir()
        monkeypatch.setattr(environments, "PINS", pins)
        monkeypatch.setattr(environments.venv, "create", lambda path, **_: path.mkdir(parents=True, exist_ok=True))
        monkeypatch.setattr(environments, "_install", lambda own, _: made.append(own.name))
        for text in ("tea==1", "tea==1", "tea==2"):
            (pins / "tea.txt").write_text(text)
            assert environments.environment_of("tea", kept, lambda _: None) == kept / "tea" / "bin"
        assert made == ["tea", "tea"]


class TestFunctions:
    def test_ours_are_registered_with_the_names_that_peers_use(self) -> None:
        assert {QUICK, WAITING} <= {function.name for function in registry}
        assert waiting.is_async

    def test_they_check_their_arguments_and_give_the_answer(self) -> None:
        call = quick.call(*rows(2)[1])
        assert quick(number=1, text="row 1") == answer(1, "row 1")
        assert call.function == QUICK


def test_commands_are_those_that_ran_in_between() -> None:
    before = {"cmdstat_get": {"calls": 5, "usec": 50}, "cmdstat_set": {"calls": 1, "usec": 9}}
    after = {
        "cmdstat_get": {"calls": 8, "usec": 90},
        "cmdstat_set": {"calls": 1, "usec": 9},
        "cmdstat_brpop": {"calls": 2, "usec": 7},
        "cmdstat_info": {"calls": 1, "usec": 100},
    }
    assert commands_between(before, after) == {"get": (3, 40), "brpop": (2, 7)}
