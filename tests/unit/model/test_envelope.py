"""An envelope is JSON, and what is written is what is read, whatever stands in the calls."""

import json

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.model.envelope import Envelope

texts = st.text(max_size=40)


@given(texts, texts, st.lists(texts, min_size=1, max_size=3).map(tuple))
def test_what_is_written_is_json_and_what_is_read(function: str, version: str, calls: tuple[str, ...]) -> None:
    envelope = Envelope(function=function, version=version, calls=calls)
    text = envelope.encode()
    assert json.loads(text) == {"v": 1, "function": function, "version": version, "calls": list(calls)}
    assert Envelope.decode(text) == envelope
