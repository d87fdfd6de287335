"""What to run: a function's name and its checked arguments."""

import hashlib
from dataclasses import dataclass
from typing import Generic, TypeVar

R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Call(Generic[R_co]):
    """A function's name and its validated arguments. Made by `Function.call` or `Function.bind`, never by hand.

    The type parameter is the function's return type, so that `await handle.result()` is typed.
    """

    #: The function's registered name.
    function: str
    #: The function's version when the call was bound.
    version: str
    #: The arguments as canonical JSON text: one object, defaults left out.
    arguments: str
    #: The caller's own id of this call, as LLM tool calls have one; echoed in the tool result.
    call_id: str | None = None

    @property
    def digest(self) -> str:
        """SHA-256 over function, version and arguments, as hex: what an idempotency key stands for."""
        text = f"{self.function}\n{self.version}\n{self.arguments}"
        return hashlib.sha256(text.encode()).hexdigest()
