"""`dispatcher train` and `dispatcher models`, on a folder of models."""

import asyncio
import json
import math
import re
import threading
import time

import pytest

from dispatcher.cli import retrain as module
from dispatcher.cli import train as command

WORDS = {"price": "wug", "mail.send": "dax", None: "blicket"}
TAILS = [
    f"{a} {b}"
    for a in ("it", "that", "this", "the lot", "them", "all", "some")
    for b in ("now", "soon", "please", "again", "once", "twice")
]


@pytest.fixture
def rows(folder, monkeypatch) -> str:
    monkeypatch.setenv("DISPATCHER_ENCODER", "none")
    data = [{"text": f"{word} {tail}", "label": label} for label, word in WORDS.items() for tail in TAILS]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, data)), encoding="utf-8")
    return "rows.jsonl"


def train(run, *words: str):
    return run("train", *words, "--folder", "models", "--app", "shop")


def test_the_first_model_is_kept_where_it_beats_the_untrained_selector(run, rows) -> None:
    ran = train(run, rows)
    assert ran.code == 0
    for words in (
        "examples",
        "held out",
        "(untrained)",
        "told rightly",
        "cost of a text",
        "log-loss",
        "abstains, out of scope",
    ):
        assert words in ran.out
    assert f"1 from registry, {len(WORDS) * len(TAILS)} from files" in ran.out
    assert "is in use now" in ran.words
    (listed,) = run("models", "--folder", "models", "--json").data
    assert listed["champion"] is True
    assert listed["version"] in ran.out
    assert listed["metrics"]["held_out_accuracy"] > 0.9


def test_one_that_is_not_better_changes_nothing(run, rows) -> None:
    first = train(run, rows, "--json").data
    again = train(run, rows, "--json").data
    assert first["champion"] is None
    assert first["better"] is True
    assert again["champion"] == first["promoted"]
    if not again["better"]:
        assert again["promoted"] is None
        assert len(run("models", "--folder", "models", "--json").data) == 1
    assert set(first["texts"]) == {"registry", "files"}
    assert first["examples"] + first["held_out"] == sum(first["texts"].values())


def test_a_dry_run_keeps_nothing(run, rows, folder) -> None:
    ran = train(run, rows, "--dry-run")
    assert ran.code == 0
    assert "nothing was kept" in ran.words
    assert not (folder / "models").exists()
    assert "no models" in run("models", "--folder", "models").words


def test_too_little_data_is_told_clearly(run, rows) -> None:
    ran = train(run)
    assert ran.code == 1
    assert "too little to learn from" in ran.words
    assert train(run, "--json").data["error"]["code"] == "model"


def test_too_little_data_says_how_much_there_is_and_how_much_more_will_do(run, rows, folder) -> None:
    lines = (folder / rows).read_text().splitlines(keepends=True)
    texts = {json.loads(line)["text"] for line in lines[:20]}
    (folder / "few.jsonl").write_text("".join(lines[:20]))
    said = " ".join(train(run, "few.jsonl").words.split())
    assert f"of {len(texts)} texts beside" in said
    held_out = int(re.search(r"(\d+) fell among", said)[1])
    assert f"about {math.ceil((10 - held_out) * 100 / 15)} labelled texts or feedbacks more will do" in said


def test_rows_that_cannot_be_judged_are_left_out_where_that_is_asked_for(run, rows, folder) -> None:
    with (folder / rows).open("a") as file:
        file.write('\n{"text": "x"}\n')
    assert "--skip-bad leaves them out" in train(run, rows).words
    ran = train(run, rows, "--skip-bad", "--dry-run")
    assert ran.code == 0
    assert "left out" in ran.words


def test_a_file_that_cannot_be_used_is_wrong_use(run, rows, folder) -> None:
    (folder / "bad.jsonl").write_text('{"text": "x", "label": "prise"}\n')
    ran = train(run, "bad.jsonl")
    assert ran.code == 2
    assert "'prise'" in ran.words
    assert train(run, rows, "--validation", "none.jsonl").code == 2


def test_validation_rows_are_taken(run, rows) -> None:
    assert train(run, rows, "--validation", rows, "--json").data["better"] is True


def test_learning_curves_are_drawn(run, rows, folder) -> None:
    pytest.importorskip("matplotlib")
    data = train(run, rows, "--plots", "plots", "--json").data
    assert (folder / data["pictures"][0]).read_bytes().startswith(b"\x89PNG")


def test_models_are_promoted_and_rolled_back(run, rows, folder) -> None:
    first = train(run, rows, "--json").data["promoted"]
    later = "99991231T000000Z-00000000"
    rename(folder / "models", first, later)
    listed = run("models", "--folder", "models")
    assert [line.startswith("*") for line in listed.out.splitlines()[1:]] == [False, True]
    assert f"{later} is in use now" in run("models", "promote", later, "--folder", "models").out
    assert run("models", "rollback", "--folder", "models", "--json").data == {"champion": first}
    ran = run("models", "rollback", "--folder", "models")
    assert ran.code == 1
    assert f"no model older than {first}" in ran.words
    assert run("models", "promote", "no-such", "--folder", "models").code == 1


def rename(folder, version: str, other: str) -> None:
    """A copy of a model under another version."""
    from dataclasses import replace

    from dispatcher.selection.folder import FolderModelStore

    async def copy() -> None:
        store = FolderModelStore(folder)
        await store.save(replace(await store.load(version), version=other), promote=False)

    asyncio.run(copy())


def test_rolling_back_without_a_model_in_use_is_refused(run) -> None:
    ran = run("models", "rollback", "--folder", "nowhere")
    assert ran.code == 1
    assert "no model in use" in ran.words


async def test_every_so_often_goes_on_after_what_stands_in_the_way(monkeypatch, rows, capsys) -> None:
    from dispatcher.cli.output import Output
    from dispatcher.errors import ModelError

    tried = []

    async def once(*args: object, **options: object) -> None:
        tried.append(options["one_line"])
        if len(tried) == 3:
            raise KeyboardInterrupt
        msg = "too little"
        raise ModelError(msg)

    monkeypatch.setattr(command, "_train_once", once)
    with pytest.raises(KeyboardInterrupt):
        await command._train(None, None, Output(as_json=True), 0.001, None)
    assert tried == [True, True, True]
    assert capsys.readouterr().err.count("too little") == 2


async def test_ctrl_c_does_not_wait_for_the_training() -> None:
    began, goes_on = threading.Event(), threading.Event()
    ended = []

    def work(step) -> None:
        began.set()
        goes_on.wait(10)
        try:
            step("the next thing")
        except module._StoppedError:
            ended.append("stopped")
            raise

    task = asyncio.create_task(module._on_thread(work, lambda _: None))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    goes_on.set()
    end = time.monotonic() + 10
    while not ended and time.monotonic() < end:
        await asyncio.sleep(0.001)
    assert ended == ["stopped"]


async def test_what_the_training_raises_is_raised_where_it_is_waited_for() -> None:
    steps = []

    def work(step) -> None:
        step("one")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await module._on_thread(work, steps.append)
    assert steps == ["one"]
