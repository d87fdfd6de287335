"""Chinese word for word in English, where the dictionary is installed; refused where it is another."""

import logging
import platform
import sys

import pytest

from dispatcher.errors import ModelError
from dispatcher.selection.encoders import glossary
from dispatcher.selection.encoders.glossary import Glossary, find_glossary


@pytest.fixture
def anew():
    """What was found before is looked for again, before and after."""
    find_glossary.cache_clear()
    yield
    find_glossary.cache_clear()


@pytest.fixture(scope="module")
def dictionary():
    pytest.importorskip("lindera")
    return Glossary()


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("把闹钟推迟五分钟", "alarm clock postpone five minute"),
        ("取消鬧鐘", "cancel alarm clock"),
        ("播放 Harvest Moon", "broadcast Harvest Moon"),
        ("怎么去火车站？", "how go train station ？"),
        ("play a song", ""),
        ("歌を聞く", ""),
        ("погода", ""),
        ("", ""),
    ],
)
def test_each_chinese_word_becomes_the_first_that_it_means(dictionary, text, english):
    assert dictionary.gloss(text) == english


def test_odd_texts_are_read_as_far_as_an_encoder_reads_them(dictionary):
    assert dictionary.gloss("把\ud800\x00闹钟") == "alarm clock"
    assert len(dictionary.gloss("闹钟" * 500_000).split()) <= 1_024
    assert dictionary.gloss("闹钟\U0001f600ﷺ") == "alarm clock \U0001f600ﷺ"


def test_nothing_is_read_before_the_first_chinese_text():
    pytest.importorskip("lindera")
    fresh = Glossary()
    assert fresh.gloss("no Chinese") == ""
    assert fresh._tokeniser is None


def test_another_dictionary_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(glossary, "_BUILDS", {(sys.platform, platform.machine()): "0" * 64})
    other = tmp_path / "lindera.abi3.so"
    other.write_bytes(b"other words")
    with pytest.raises(ModelError, match=r"pip install --force-reinstall lindera-python-cc-cedict==2.2.0"):
        Glossary(library=other)


def test_on_a_machine_that_it_was_not_built_for_there_is_none(monkeypatch):
    monkeypatch.setattr(glossary, "_BUILDS", {})
    with pytest.raises(ModelError, match="no Chinese dictionary for"):
        Glossary()


@pytest.mark.usefixtures("anew")
def test_a_dictionary_that_is_refused_is_not_used_and_said_once(monkeypatch, caplog):
    monkeypatch.setattr(glossary, "_BUILDS", {})
    monkeypatch.setattr(glossary, "is_installed", lambda module: module == "lindera")
    with caplog.at_level(logging.WARNING):
        assert find_glossary() is None
        assert find_glossary() is None
    assert [record.message.split(":")[0] for record in caplog.records] == ["glossary_not_used"]


@pytest.mark.usefixtures("anew")
def test_where_it_is_not_installed_nothing_is_said(monkeypatch, caplog):
    monkeypatch.setattr(glossary, "is_installed", lambda _: False)
    assert find_glossary() is None
    assert not caplog.records
