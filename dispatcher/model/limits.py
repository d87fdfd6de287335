"""How much a call may hold."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds on the arguments and results of a call, checked before anything is queued and again by the worker."""

    #: Arguments of one call as JSON text, in bytes of UTF-8. Larger data belongs in a store, its address in the call.
    arguments_bytes: int = 256 * 1024
    #: A result as JSON text, in bytes of UTF-8.
    result_bytes: int = 4 * 1024 * 1024
    #: Nesting of objects and arrays, the object of all arguments counted as one.
    depth: int = 32
    #: Decimal digits of an integer. More than any 512-bit key needs, and far below what makes `int()` slow.
    integer_digits: int = 320
