"""The larger encoder that is fetched for the benchmark, as it is written to ONNX."""

import io
import math
import zipfile

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("safetensors")
onnxruntime = pytest.importorskip("onnxruntime")
mpnet = pytest.importorskip("benchmarks.selection.mpnet")

WIDTH, HEADS, LAYERS, MIDDLE, TOKENS = 8, 2, 2, 16, 30


def make_weights():
    rng = np.random.default_rng(3)

    def dense(name, into, out_of):
        return {f"{name}.weight": rng.normal(size=(out_of, into)), f"{name}.bias": rng.normal(size=out_of)}

    def norm(name):
        return {f"{name}.weight": rng.normal(size=WIDTH), f"{name}.bias": rng.normal(size=WIDTH)}

    made = {
        "embeddings.word_embeddings.weight": rng.normal(size=(TOKENS, WIDTH)),
        "embeddings.position_embeddings.weight": rng.normal(size=(514, WIDTH)),
        "encoder.relative_attention_bias.weight": rng.normal(size=(32, HEADS)),
        **norm("embeddings.LayerNorm"),
    }
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        for part in "qkvo":
            made |= dense(f"{layer}.attention.attn.{part}", WIDTH, WIDTH)
        made |= norm(f"{layer}.attention.LayerNorm") | norm(f"{layer}.output.LayerNorm")
        made |= dense(f"{layer}.intermediate.dense", WIDTH, MIDDLE) | dense(f"{layer}.output.dense", MIDDLE, WIDTH)
    return {name: values.astype(np.float32) for name, values in made.items()}


WEIGHTS = make_weights()


def bucket(apart):
    """Of how far a token stands after another, as the paper has it: small distances one by one, others by size."""
    far = abs(apart)
    sized = far if far < 8 else min(15, 8 + int(math.log(far / 8) / math.log(128 / 8) * 8))
    return sized + (16 if apart > 0 else 0)


def read_plainly(ids):
    """The vectors of one text's tokens."""

    def dense(rows, name):
        return rows @ WEIGHTS[f"{name}.weight"].T + WEIGHTS[f"{name}.bias"]

    def norm(rows, name):
        centred = rows - rows.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
        return scaled * WEIGHTS[f"{name}.weight"] + WEIGHTS[f"{name}.bias"]

    count = len(ids)
    places = WEIGHTS["embeddings.position_embeddings.weight"][2 : 2 + count]
    rows = norm(WEIGHTS["embeddings.word_embeddings.weight"][ids] + places, "embeddings.LayerNorm")
    table = WEIGHTS["encoder.relative_attention_bias.weight"]
    bias = np.array([[table[bucket(seen - seeing)] for seen in range(count)] for seeing in range(count)])
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        q, k, v = (dense(rows, f"{layer}.attention.attn.{part}") for part in "qkv")
        looked = []
        for head, own in enumerate(np.split(np.arange(WIDTH), HEADS)):
            shares = np.exp(q[:, own] @ k[:, own].T / 2 + bias[:, :, head])  # two: the root of four numbers a head
            looked.append(shares / shares.sum(axis=1, keepdims=True) @ v[:, own])
        told = dense(np.concatenate(looked, axis=1), f"{layer}.attention.attn.o")
        rows = norm(rows + told, f"{layer}.attention.LayerNorm")
        between = dense(rows, f"{layer}.intermediate.dense")
        between *= np.vectorize(lambda x: (1 + math.erf(x / math.sqrt(2))) / 2)(between)
        rows = norm(rows + dense(between, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return rows


@pytest.fixture(scope="module")
def session():
    return onnxruntime.InferenceSession(mpnet.build(WEIGHTS).SerializeToString())


def run(session, ids, seen):
    return session.run(None, {"input_ids": np.array(ids), "attention_mask": np.array(seen)})[0]


def test_tokens_are_read_as_the_model_was_trained_to(session):
    texts = np.random.default_rng(4).integers(TOKENS, size=(3, 20))
    rows = run(session, texts, np.ones_like(texts))
    assert rows == pytest.approx(np.array([read_plainly(text) for text in texts]), abs=1e-4)


def test_what_is_not_seen_changes_nothing(session):
    padded = run(session, [[5, 6, 7, 0, 0]], [[1, 1, 1, 0, 0]])
    assert padded[0, :3] == pytest.approx(run(session, [[5, 6, 7]], [[1, 1, 1]])[0], abs=1e-5)


def test_another_file_than_the_pinned_one_is_refused():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("all-mpnet-base-v2/model.safetensors", b"other weights")
    with pytest.raises(mpnet.FetchError, match=r"model\.safetensors is not the file it claims to be"):
        mpnet.take(zipfile.ZipFile(packed))


def test_nothing_is_fetched_where_it_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mpnet, "fetch", None)
    (tmp_path / "model.onnx").touch()
    mpnet.main(tmp_path)
    assert f"folder:{tmp_path}" in capsys.readouterr().err
