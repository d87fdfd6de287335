r"""The versioned record of a job's calls, kept in the ledger.

Wire format, version 1: a JSON object

    {"v": 1, "function": "text.count_words", "version": "1", "calls": ["{\"text\":\"a b\"}", …]}

Each call is the canonical JSON text of its arguments, as an opaque string: no layer between producer and worker
may read anything into a user's data.
"""

from dataclasses import dataclass
from json.encoder import encode_basestring as _quote

from pydantic_core import from_json

#: The only version there is. A worker refuses versions it does not know, and the job becomes a dead letter.
VERSION = 1


class EnvelopeError(ValueError):
    """The record is not an envelope that this version can read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """1..N calls of one function."""

    function: str
    version: str
    calls: tuple[str, ...]

    def encode(self) -> str:
        # By hand: making an encoder for each record cost more than all the rest of it.
        function, version, calls = _quote(self.function), _quote(self.version), ",".join(map(_quote, self.calls))
        return f'{{"v":{VERSION},"function":{function},"version":{version},"calls":[{calls}]}}'

    @classmethod
    def decode(cls, text: str | bytes) -> "Envelope":
        """Read a record.

        Raises:
            EnvelopeError: if it is not JSON, not of a known version, or a field is missing or of the wrong type.
        """
        try:
            data = from_json(text)
        except ValueError as error:
            msg = f"the record is not JSON: {error}"
            raise EnvelopeError(msg) from error
        if not isinstance(data, dict) or data.get("v") != VERSION:
            version = data.get("v") if isinstance(data, dict) else None
            msg = f"the record has version {version!r}; this worker reads version {VERSION}"
            raise EnvelopeError(msg)
        function, version, calls = data.get("function"), data.get("version"), data.get("calls")
        if not (isinstance(function, str) and isinstance(version, str) and isinstance(calls, list) and calls):
            msg = "the record lacks its function, its version or its calls"
            raise EnvelopeError(msg)
        if not all(isinstance(call, str) for call in calls):
            msg = "the record holds a call that is not text"
            raise EnvelopeError(msg)
        return cls(function=function, version=version, calls=tuple(calls))
