"""A sentence encoder of one's own: a folder as sentence-transformers writes it."""

import json
import multiprocessing
import shutil

import numpy as np
import pytest

from dispatcher import Settings
from dispatcher.client.selecting import find_meaning, make_selector
from dispatcher.errors import ModelError
from dispatcher.selection.encoders import make_encoder, own
from dispatcher.selection.encoders.own import OwnModel
from dispatcher.selection.encoders.sessions import Session
from dispatcher.selection.meaning import full_name, load_meaning
from tests.unit.client.talk import make_registry

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ["[UNK]", "[CLS]", "[SEP]", "send", "an", "invoice", "bill", "the", "customer", "query", "[PAD]"]
TABLE = np.random.default_rng(5).normal(size=(len(WORDS), 6)).astype(np.float32)


def vector(*words):
    """Of each token a row of the table."""
    return TABLE[[WORDS.index(word) for word in ("[CLS]", *words, "[SEP]")]]


def unit(row):
    return row / np.linalg.norm(row)


def write_model(path, *, inputs=("input_ids", "attention_mask"), outputs=("last_hidden_state",), kind="INT64", **more):
    """A model whose token vectors are the rows of a table, times its mask, less its other inputs.

    `sentence_embedding` is the first token's, doubled; `pooler_output` the same.
    """
    helper, kinds = onnx.helper, onnx.TensorProto
    shapes = {"last_hidden_state": ["b", "t", 6], "logits": ["b"]}
    others = [name for name in inputs if name not in {"input_ids", "attention_mask"}]
    steps = [("Cast", [name], [f"{name}.float"], {"to": kinds.FLOAT}) for name in inputs[1:]]
    steps += [("Unsqueeze", [f"{name}.float", "last"], [f"{name}.each"], {}) for name in inputs[1:]]
    rows = "gathered"
    for name in inputs[1:]:
        steps.append(("Sub" if name in others else "Mul", [rows, f"{name}.each"], [f"{rows}."], {}))
        rows += "."
    nodes = [
        helper.make_node("Gather", ["table", inputs[0]], ["gathered"]),
        *(helper.make_node(step, given, made, **options) for step, given, made, options in steps),
        helper.make_node("Identity", [rows], ["last_hidden_state"]),
        helper.make_node("Gather", ["last_hidden_state", "zero"], ["first"], axis=1),
        helper.make_node("Mul", ["first", "two"], ["sentence_embedding"]),
        helper.make_node("Identity", ["sentence_embedding"], ["pooler_output"]),
        helper.make_node("ReduceSum", ["sentence_embedding", "axis"], ["logits"], keepdims=0),
    ]
    table = more.get("table", TABLE)
    held = {"table": table, "zero": np.int64(0), "two": np.float32(2), "axis": np.array([1]), "last": np.array([-1])}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, getattr(kinds, kind), ["b", "t"]) for name in inputs],
        [helper.make_tensor_value_info(name, kinds.FLOAT, shapes.get(name, ["b", 6])) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(values), name) for name, values in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, str(path))


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def modules(*steps):
    return [
        {"path": f"{number}_{step}", "type": f"sentence_transformers.models.{step}"}
        for number, step in enumerate(steps)
    ]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "Tiny model"
    write_model(made / "model.onnx")
    places = {word: place for place, word in enumerate(WORDS)}
    tokeniser = tokenizers.Tokenizer(tokenizers.models.WordLevel(places, unk_token="[UNK]"))
    tokeniser.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokeniser.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokeniser.add_special_tokens(["[CLS]", "[SEP]", "[PAD]"])
    tokeniser.enable_padding(length=32, pad_id=10, pad_token="[PAD]")
    tokeniser.save(str(made / "tokenizer.json"))
    write_json(made / "modules.json", modules("Transformer", "Pooling", "Normalize"))
    write_json(made / "1_Pooling" / "config.json", {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True})
    return made


def encode(folder, *texts):
    return make_encoder(f"folder:{folder}").encode(texts)


def test_a_text_is_the_mean_of_its_tokens_whatever_padding_the_folder_asks_for(folder):
    rows = encode(folder, "send an invoice", "bill the customer", "send")
    expected = [("send", "an", "invoice"), ("bill", "the", "customer"), ("send",)]
    assert rows == pytest.approx(np.array([unit(vector(*words).mean(axis=0)) for words in expected]), abs=1e-6)


@pytest.mark.parametrize(
    ("config", "pooled"),
    [
        ({"pooling_mode": "mean"}, lambda rows: rows.mean(axis=0)),
        ({"pooling_mode": "cls"}, lambda rows: rows[0]),
        ({"pooling_mode": "max"}, lambda rows: rows.max(axis=0)),
        ({"pooling_mode": "lasttoken"}, lambda rows: rows[-1]),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, lambda rows: rows.sum(axis=0)),
        ({"pooling_mode": "weightedmean"}, lambda rows: (np.arange(1, len(rows) + 1)[:, None] * rows).sum(axis=0)),
        ({"pooling_mode": ["mean", "cls"]}, lambda rows: np.concatenate([rows.mean(axis=0), rows[0]])),
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            lambda rows: np.concatenate([rows[0], rows.mean(axis=0)]),
        ),
        ({"pooling_mode_mean_tokens": False}, lambda rows: rows.mean(axis=0)),
    ],
)
def test_tokens_are_pooled_as_the_folder_says(folder, config, pooled):
    write_json(folder / "1_Pooling" / "config.json", config)
    expected = unit(pooled(vector("send", "an", "invoice")))
    assert encode(folder, "send an invoice")[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "outputs", [("sentence_embedding",), ("last_hidden_state", "sentence_embedding"), ("pooler_output",)]
)
def test_what_a_model_pooled_itself_is_taken(folder, outputs):
    shutil.rmtree(folder / "1_Pooling")
    write_json(folder / "modules.json", modules("Transformer", "Pooling", "Dense"))
    write_model(folder / "model.onnx", outputs=outputs)
    assert encode(folder, "send")[0] == pytest.approx(unit(TABLE[WORDS.index("[CLS]")]), abs=1e-6)


def test_an_output_that_is_no_sentence_is_not_preferred_to_the_tokens(folder):
    write_model(folder / "model.onnx", outputs=("pooler_output", "last_hidden_state"))
    assert encode(folder, "send")[0] == pytest.approx(unit(vector("send").mean(axis=0)), abs=1e-6)


@pytest.mark.parametrize("kind", ["INT64", "INT32"])
def test_a_model_in_the_folder_onnx_that_reads_kinds_and_places_of_tokens_too(folder, kind):
    (folder / "model.onnx").unlink()
    inputs = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
    write_model(folder / "onnx" / "model.onnx", inputs=inputs, kind=kind)
    expected = vector("send", "an", "invoice") - np.arange(5)[:, None]
    assert encode(folder, "send an invoice")[0] == pytest.approx(unit(expected.mean(axis=0)), abs=1e-5)


def test_a_file_in_the_folder_may_be_named_instead(folder):
    write_model(folder / "onnx" / "model_small.onnx", table=2 * TABLE[::-1])
    rows = make_encoder(f"folder:{folder / 'onnx' / 'model_small.onnx'}").encode(["send"])
    assert rows[0] == pytest.approx(unit(TABLE[::-1][[1, 3, 2]].mean(axis=0)), abs=1e-6)
    assert np.array_equal(make_encoder(f"folder:{folder / 'model.onnx'}").encode(["send"]), encode(folder, "send"))


def test_how_it_pools_may_be_said_without_its_modules(folder):
    (folder / "modules.json").unlink()
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": "cls"})
    assert encode(folder, "send")[0] == pytest.approx(unit(TABLE[1]), abs=1e-6)


def test_the_default_prompt_stands_before_every_text(folder):
    settings = {"prompts": {"query": "query ", "document": ""}, "default_prompt_name": "query"}
    write_json(folder / "config_sentence_transformers.json", settings)
    assert encode(folder, "send")[0] == pytest.approx(unit(vector("query", "send").mean(axis=0)), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sentence_bert_config.json", {"max_seq_length": 4}),
        ("sentence_roberta_config.json", {"max_seq_length": 4}),
        ("tokenizer_config.json", {"model_max_length": 4}),
    ],
)
def test_no_text_is_read_farther_than_the_model_can(folder, name, said):
    write_json(folder / name, said)
    assert np.array_equal(*encode(folder, "send an", "send an invoice")[:, None])


def test_no_text_is_read_farther_than_any_encoder_does(folder):
    write_json(folder / "tokenizer_config.json", {"model_max_length": 10**30})
    assert np.array_equal(*encode(folder, "send " * 126 + "bill", "send " * 126 + "invoice")[:, None])


def test_letters_are_lowered_where_the_folder_says_so(folder):
    tokeniser = json.loads((folder / "tokenizer.json").read_text())
    assert tokeniser["normalizer"] is None
    assert not np.allclose(*encode(folder, "send", "SEND")[:, None])
    lowering = folder.with_name("lowering")
    shutil.copytree(folder, lowering)
    write_json(lowering / "sentence_bert_config.json", {"do_lower_case": True})
    assert np.array_equal(*encode(lowering, "send", "SEND")[:, None])


def test_marks_of_the_model_in_a_text_are_only_text(folder):
    assert encode(folder, "send [PAD]")[0] == pytest.approx(unit(vector("send", *3 * ["[UNK]"]).mean(axis=0)), abs=1e-6)


def test_other_letters_are_read_where_the_name_says_so(folder):
    assert not encode(folder, "发送发票", "")[:].any()
    many = folder.with_name("tiny-multilingual")
    shutil.copytree(folder, many)
    assert np.linalg.norm(encode(many, "发送发票", ""), axis=1) == pytest.approx([1, 0])


def test_its_name_says_what_is_in_the_folder_and_not_where_it_stands(folder, tmp_path):
    name = OwnModel(folder).name
    assert name.startswith("tiny-model/")
    shutil.copytree(folder, tmp_path / "elsewhere" / "tiny model")
    assert OwnModel(tmp_path / "elsewhere" / "tiny model").name == name
    (tmp_path / "Linked (1)").symlink_to(folder)
    assert OwnModel(tmp_path / "Linked (1)").name == name.replace("tiny-model", "linked-1")
    (folder / "README.md").write_text("what it is")
    (folder / "model.safetensors").write_bytes(b"the same weights")
    assert OwnModel(folder).name == name


def test_a_vocabulary_of_many_languages_is_known_by_its_size(folder, caplog):
    with caplog.at_level("INFO"):
        OwnModel(folder)
    assert "reads Latin letters only" in caplog.text
    caplog.clear()
    value = json.loads((folder / "tokenizer.json").read_text())
    value["model"]["vocab"] |= {f"word{number}": number for number in range(len(WORDS), 100_000)}
    write_json(folder / "tokenizer.json", value)
    with caplog.at_level("INFO"):
        assert OwnModel(folder).name.startswith("tiny-model-multilingual/")
    assert caplog.text == ""
    assert encode(folder, "发送发票").any()


@pytest.mark.parametrize(
    "changed",
    [
        *("model.onnx.data", "weights.bin", "onnx/weights.bin", "tokenizer.json", "modules.json"),
        *("1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
    ],
)
def test_another_file_is_another_version(folder, changed):
    if changed.startswith("onnx"):
        write_model(folder / "onnx" / "model.onnx")
        (folder / "model.onnx").unlink()
    path = folder / changed
    before = OwnModel(folder).name
    path.write_text((path.read_text() if path.exists() else "{}") + "\n")
    assert OwnModel(folder).name != before


def test_another_model_is_another_version(folder):
    before = OwnModel(folder).name
    write_model(folder / "model.onnx", table=2 * TABLE)
    assert OwnModel(folder).name != before


def test_a_version_can_be_asked_for(folder):
    version = OwnModel(folder).name.partition("/")[2]
    assert make_encoder(f"folder:{folder}#{version[:6].upper()}").name.endswith(version)
    with pytest.raises(ModelError, match=f"is of version {version}, not 0{version}"):
        make_encoder(f"folder:{folder}#0{version}")


def test_a_home_folder_may_be_named(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert make_encoder(f"folder:~/{folder.name}").name == OwnModel(folder).name


def test_threads_are_those_that_are_asked_for(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(own, "Session", lambda model, threads: asked.append(threads) or Session(model, threads))
    make_encoder(f"folder:{folder}", threads=2)
    assert asked == [2]


def test_a_text_that_overflows_is_one_that_was_not_read(folder):
    table = TABLE.copy()
    table[WORDS.index("bill")] = np.inf
    write_model(folder / "model.onnx", table=table)
    assert encode(folder, "bill the customer", "send").any(axis=1).tolist() == [False, True]


def test_a_model_whose_vectors_depend_on_their_neighbours_reads_texts_one_by_one(folder, monkeypatch):
    def run(self, ids):
        rows = plainly(self, ids)
        return rows + np.float32(0.1 * (len(ids) - 1))

    plainly = OwnModel._run
    monkeypatch.setattr(OwnModel, "_run", run)
    rows = OwnModel(folder).encode(["send an invoice", "bill the customer"])
    assert rows[0] == pytest.approx(unit(vector("send", "an", "invoice").mean(axis=0)), abs=1e-6)


def test_once_made_it_is_known_by_its_name_alone_and_beside_others(folder):
    made = make_encoder(f"folder:{folder}")
    assert make_encoder(f"folder:{folder}") is made
    assert np.array_equal(make_encoder(made.name).encode(["send"]), made.encode(["send"]))
    both = make_encoder(f"0.5*{made.name} + 0.5*folder:{folder}")
    assert both.name == f"0.5*{made.name} + 0.5*{made.name}"


def test_what_requests_have_in_common_is_taken_away_from_its_vectors(folder):
    meaning = load_meaning(f"folder:{folder}")
    assert np.linalg.norm(meaning.common) > 0
    expected = unit(encode(folder, "send an invoice")[0] - meaning.common)
    assert meaning.request("send an invoice") == pytest.approx(expected, abs=1e-6)


def test_it_may_stand_beside_the_best_that_is_installed(folder, monkeypatch):
    installed = "0.6*minilm-l6-int8/1 + 0.4*use-multilingual-v3/1"
    monkeypatch.setattr("dispatcher.selection.meaning.default_name", lambda: installed)
    assert full_name("auto") == installed
    assert full_name("auto + folder:/x") == "0.6*minilm-l6-int8/1 + 0.4*use-multilingual-v3/1 + 1*folder:/x"
    assert full_name("3*folder:/x + 2*auto") == "3*folder:/x + 1.2*minilm-l6-int8/1 + 0.8*use-multilingual-v3/1"
    assert full_name(installed) == installed
    with pytest.raises(ModelError, match="names no encoder"):
        full_name("much*auto")


def test_the_selector_of_a_producer_takes_it_by_its_setting(folder):
    selector = make_selector(make_registry(), Settings(encoder=f"folder:{folder}"))
    assert "weather" in {candidate.function for candidate in selector.select("tell the forecast").candidates}
    assert find_meaning(f"folder:{folder}").name == OwnModel(folder).name
    missing = make_selector(make_registry(), Settings(encoder=f"folder:{folder}/none"))
    with pytest.raises(ModelError, match="is no folder"):
        missing.select("tell the forecast")


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # since 3.12
def test_a_child_of_a_fork_may_go_on_with_it(folder):
    made = make_encoder(f"folder:{folder}")
    expected = made.encode(["send an invoice"])
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=lambda: theirs.send(made.encode(["send an invoice"])))
    child.start()
    try:
        assert ours.poll(30), "the child hangs"
        assert np.array_equal(ours.recv(), expected)
    finally:
        child.kill()
        child.join()


def remove(name):
    return lambda folder: (folder / name).unlink()


def put(name, text):
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (shutil.rmtree, "is no folder"),
        (remove("model.onnx"), "holds no model.onnx or onnx/model.onnx: export"),
        (put("model.onnx", "no model"), r"model\.onnx cannot be run"),
        (remove("tokenizer.json"), r"tokenizer\.json is no tokeniser"),
        (put("tokenizer.json", "{}"), r"tokenizer\.json is no tokeniser"),
        (put("modules.json", "{"), r"modules\.json cannot be read"),
        (put("modules.json", "{}"), r"modules\.json is not as sentence-transformers writes it"),
        (put("modules.json", json.dumps(modules("Transformer", "Dense"))), "needs Dense, which is not done here"),
        (put("1_Pooling/config.json", '{"pooling_mode": "median"}'), "pools by median; known are cls, max"),
        (put("1_Pooling/config.json", '{"pooling_mode": 3}'), "pools by 3"),
        (put("config_sentence_transformers.json", '{"prompts": 3, "default_prompt_name": "x"}'), "prompts"),
        (put("config_sentence_transformers.json", "[" * 100_000), "recursion"),
        (put("sentence_bert_config.json", '{"max_seq_length": 2}'), "none is left for words"),
        (put("sentence_bert_config.json", '{"max_seq_length": 1}'), "none is left for words"),
        (remove("1_Pooling/config.json"), r"does not say how .*: write 1_Pooling/config\.json"),
        (
            lambda folder: write_model(folder / "model.onnx", table=np.nan * TABLE),
            r"model\.onnx cannot be run: its vectors are not of finite numbers",
        ),
        (lambda folder: write_model(folder / "model.onnx", table=TABLE[:4]), "cannot be run"),
        (
            lambda folder: write_model(folder / "model.onnx", inputs=("input_ids", "pixels")),
            r"model\.onnx cannot be run: it asks for pixels",
        ),
        (
            lambda folder: write_model(folder / "model.onnx", outputs=("logits",)),
            r"model\.onnx cannot be run: it gives no vectors",
        ),
    ],
)
def test_a_folder_that_cannot_be_used_is_an_error_that_says_why(folder, damage, says):
    damage(folder)
    with pytest.raises(ModelError, match=says) as caught:
        make_encoder(f"folder:{folder}")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("folder:", "names no folder"),
        ("folder:~nobody-of-that-name/x", "names no folder"),
        (f"folder:/{'x' * 5000}", "^the encoder in /x"),
        ("a*folder:/x", "'a' before \\* is no number"),
        ("auto+folder:/x", "between blanks"),
    ],
)
def test_a_name_of_nothing_is_an_error_that_says_why(name, says):
    with pytest.raises(ModelError, match=says):
        make_encoder(name)


def test_prompts_that_are_none_are_none(folder):
    write_json(folder / "config_sentence_transformers.json", {"prompts": None, "default_prompt_name": None})
    assert encode(folder, "send")[0] == pytest.approx(unit(vector("send").mean(axis=0)), abs=1e-6)


def test_one_text_is_no_sequence_of_texts(folder):
    with pytest.raises(TypeError, match="put it in a list"):
        make_encoder(f"folder:{folder}").encode("send")


def test_a_prompt_that_is_not_to_be_pooled_is_refused(folder):
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"q": "query "}, "default_prompt_name": "q"})
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": "mean", "include_prompt": False})
    with pytest.raises(ModelError, match="without its prompt"):
        make_encoder(f"folder:{folder}")
