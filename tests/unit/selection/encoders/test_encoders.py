"""What every encoder promises, on each that is installed."""

import hashlib
import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dispatcher.selection.encoders import minilm
from dispatcher.selection.encoders.encoder import MAX_CHARACTERS, is_latin, read_text
from dispatcher.selection.encoders.sessions import Session

TEXTS = [
    "bill customer 7 for 12.50",
    "send an invoice",
    "what will the weather be like tomorrow in Lisbon",
    "帮我统计这段文字的字数",
    "显示所有的提醒",
    "translate 你好 into French",
    "wake me at 7 😀",
    "x",
]


def is_multilingual(encoder):
    return encoder.name.startswith(("use-", "e5-"))


def length(encoder, text):
    """Of its vector: an English encoder reads no other letters."""
    return 1.0 if is_multilingual(encoder) or is_latin(text) else 0.0


def test_a_row_of_length_one_for_each_text_that_can_be_read(encoder):
    rows = encoder.encode(TEXTS)
    assert rows.shape == (len(TEXTS), encoder.dimension)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx([length(encoder, text) for text in TEXTS], abs=1e-5)


def test_an_english_one_reads_no_other_letters():
    assert [text for text in TEXTS if not is_latin(text)] == ["帮我统计这段文字的字数", "显示所有的提醒"]
    assert all(map(is_latin, ["", "12.50", "😀", "Größe", "ab 字字"]))
    assert not any(map(is_latin, ["a 字字", "ﷺ", "погода"]))


def test_no_texts_give_no_rows(encoder):
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_the_same_text_gives_the_same_vector_again(encoder):
    assert np.array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS))


def test_alone_or_in_a_batch_a_text_has_the_same_vector(encoder):
    many = TEXTS * 3 + [f"remind me of item {i} please" for i in range(70)]
    alone = np.concatenate([encoder.encode([text]) for text in many])
    assert np.abs(encoder.encode(many) - alone).max() <= 1e-5


@pytest.mark.parametrize("text", ["", "   \n\t", "\x00", "\ud800", "\u200b"])
def test_a_text_with_nothing_to_read_gives_zeros(encoder, text):
    rows = encoder.encode([text, "send an invoice"])
    assert not rows[0].any()
    assert rows[1].any()


@pytest.mark.parametrize("text", ["😀", "👩‍👩‍👧", "a\x00b", "broken \ud83d pair", "!?", "ﷺ", "ﷺ" * 2000])
def test_strange_texts_are_only_texts(encoder, text):
    row = encoder.encode([text])[0]
    assert np.isfinite(row).all()
    assert np.linalg.norm(row) == pytest.approx(length(encoder, text), abs=1e-5)


def test_what_stands_after_a_zero_is_read(encoder):
    assert np.array_equal(encoder.encode(["send\x00an invoice"]), encoder.encode(["send an invoice"]))


@pytest.mark.parametrize("text", ["lorem ipsum dolor ", "x", "字", " ", "<|{"])
def test_a_megabyte_costs_no_more_than_a_page(encoder, text):
    long = text * (1_000_000 // len(text))
    started = time.process_time()
    encoder.encode([long])
    assert time.process_time() - started < 2


def test_only_the_beginning_is_read(encoder):
    start = "word " * 400
    assert np.array_equal(encoder.encode([start + "one end"]), encoder.encode([start + "another end"]))


def test_texts_that_mean_the_same_are_nearer(encoder):
    a, b, c = encoder.encode(["how is the weather today", "what's the weather like now", "play some jazz music"])
    assert a @ b > a @ c + 0.05


def test_chinese_is_told_apart(encoder):
    if not is_multilingual(encoder):
        pytest.skip("knows English only")
    rows = encoder.encode(["明天的天气怎么样", "删除我的闹钟"])
    assert rows[0] @ rows[1] < 0.999


def test_multilingual_encoders_bring_languages_together(encoder):
    if not is_multilingual(encoder):
        pytest.skip("knows English only")
    english, same, other = encoder.encode(["what will the weather be like tomorrow", "明天的天气怎么样", "播放音乐"])
    assert english @ same > english @ other


def test_threads_may_share_it(encoder):
    expected = encoder.encode(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(lambda _: encoder.encode(TEXTS), range(8)):
            assert np.abs(rows - expected).max() <= 1e-5


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # since 3.12; it is what prefork pools do
def test_a_child_of_a_fork_may_go_on_with_it(encoder):
    expected = encoder.encode(TEXTS)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=lambda: theirs.send(encoder.encode(TEXTS)))
    child.start()
    try:
        assert ours.poll(30), "the child hangs"
        assert np.abs(ours.recv() - expected).max() <= 1e-5
    finally:
        child.kill()
        child.join()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # since 3.12
def test_a_fork_while_another_thread_encodes_does_not_lock_the_child(encoder):
    stop = threading.Event()

    def encode_on():
        while not stop.is_set():
            encoder.encode(TEXTS)

    thread = threading.Thread(target=encode_on)
    thread.start()
    context = multiprocessing.get_context("fork")
    try:
        for _ in range(5):
            child = context.Process(target=encoder.encode, args=(TEXTS,))
            child.start()
            child.join(30)
            code = child.exitcode
            child.kill()
            assert code == 0
    finally:
        stop.set()
        thread.join()


def test_one_text_is_no_sequence_of_texts(encoder):
    with pytest.raises(TypeError, match="put it in a list"):
        encoder.encode("send an invoice")


def test_rows_are_the_callers_own(encoder):
    rows = encoder.encode(["send an invoice", "send an invoice"])
    expected = rows.copy()
    rows[0] = 0
    assert np.array_equal(rows[1], expected[1])
    assert np.array_equal(encoder.encode(["send an invoice"])[0], expected[0])


#: The first numbers of a vector. A change of pooling, tokeniser or weights needs a new version in the name.
KNOWN = {
    "minilm-l6-int8/1": [-0.1011, 0.0382, 0.0153, 0.0128],
    "minilm-l6-int8-max/1": [-0.0715, 0.0270, 0.0108, 0.0090],
    "minilm-l6-int8-cls/1": [-0.0715, 0.0270, 0.0108, 0.0090],
    "use-multilingual-v3/1": [0.0767, 0.0210, -0.0789, -0.0160],
    "e5-small-multilingual-q4/1": [0.0489, -0.0243, -0.0216, -0.0751],
    "wordllama-l2-256/1": [-0.0451, 0.0292, -0.0460, 0.0674],
}


def test_vectors_are_what_their_name_has_always_meant(encoder):
    row = encoder.encode(["Send an invoice to 客户 7"])[0, :4]
    assert row == pytest.approx(KNOWN[encoder.name], abs=5e-3)


def test_minilm_in_bytes_means_what_its_file_means(encoder):
    if encoder.name != "minilm-l6-int8/1":
        pytest.skip("of MiniLM")
    file = Session(str(minilm._WEIGHTS.locate()), 1)
    ids = np.array(encoder._ids(["send an invoice"]))
    [hidden] = file.run(None, minilm._inputs(ids))
    mean = hidden[0].mean(axis=0)
    unit, found = mean / np.linalg.norm(mean), encoder.encode(["send an invoice"])[0]
    assert found @ unit > 0.999
    assert np.abs(found - unit).max() > 1e-4


def test_a_text_is_read_with_single_blanks_and_cut():
    assert read_text("  a \n\n b\x00c ") == "a b c"
    assert read_text("x" * 10_000) == "x" * MAX_CHARACTERS
    assert read_text(" \u200b\u2028\x07") == ""
    assert hashlib.sha256(read_text("字" * 5000).encode()).digest() == hashlib.sha256(("字" * 1024).encode()).digest()
