"""Prime numbers: work that takes a moment, and shows how far it is."""

import math
from dataclasses import dataclass
from datetime import timedelta

from dispatcher import current_job_or_none
from tasks.shared import registry

#: Sieving this far takes a second or two.
MAX_PRIME_LIMIT = 20_000_000
#: Trial division up to its root takes about a second in the worst case, a prime.
MAX_FACTORISED = 10**14
#: Numbers sieved between two looks at whether to stop: about 30 ms.
_SIEVE_SEGMENT = 500_000


@dataclass(frozen=True, kw_only=True)
class Factorisation:
    """A number as a product of primes."""

    number: int
    prime: bool
    #: In rising order, repeated as often as they divide; empty for 1.
    factors: list[int]


@registry.function(
    name="numbers.factorise",
    tags={"numbers", "primes"},
    timeout=timedelta(seconds=20),
    cache=timedelta(days=1),
    examples=(
        "what are the prime factors of 360?",
        "is 7919 a prime number",
        "factorize 1001",
        "把 84 分解质因数",
        "97是不是质数",
    ),
)
def factorise(number: int) -> Factorisation:
    """Split a whole number into its prime factors, which also says whether it is prime.

    Args:
        number: 1 to 100,000,000,000,000.

    Raises:
        ValueError: if the number is out of range.
    """
    if not 1 <= number <= MAX_FACTORISED:
        msg = f"number must be 1 to {MAX_FACTORISED:,}, not {number:,}"
        raise ValueError(msg)
    factors: list[int] = []
    rest = number
    # 2, 3 and 5, then all numbers that none of them divides: the steps repeat every 30.
    wheel = (4, 2, 4, 2, 4, 6, 2, 6)
    divisor, turn = 7, 0
    for small in (2, 3, 5):
        while rest % small == 0:
            factors.append(small)
            rest //= small
    while divisor * divisor <= rest:
        while rest % divisor == 0:
            factors.append(divisor)
            rest //= divisor
        divisor += wheel[turn]
        turn = (turn + 1) % 8
    if rest > 1:
        factors.append(rest)
    return Factorisation(number=number, prime=len(factors) == 1, factors=factors)


@dataclass(frozen=True, kw_only=True)
class Primes:
    """The primes up to a limit, by their number and their ends."""

    limit: int
    count: int
    first: list[int]
    last: list[int]


@registry.function(
    name="numbers.primes",
    tags={"numbers"},
    timeout=timedelta(seconds=30),
    cache=timedelta(hours=1),
    examples=(
        "how many primes are there below one million?",
        "list the prime numbers up to 100",
        "count all primes under 50000",
        "一百以内有哪些质数？",
        "统计一万以下素数的个数",
    ),
)
def primes(limit: int) -> Primes:
    """Count the prime numbers up to a limit and list the first and last twenty-five of them.

    Reports its progress, and can be cancelled between two steps.

    Args:
        limit: 2 to 20,000,000.

    Raises:
        ValueError: if the limit is out of range.
    """
    if not 2 <= limit <= MAX_PRIME_LIMIT:  # noqa: PLR2004 - the smallest prime
        msg = f"limit must be 2 to {MAX_PRIME_LIMIT:,}, not {limit:,}"
        raise ValueError(msg)
    job = current_job_or_none()
    base = _sieve(0, math.isqrt(limit) + 1, [])
    count, first, last = 0, list[int](), list[int]()
    for start in range(0, limit + 1, _SIEVE_SEGMENT):
        if job is not None:
            job.raise_if_cancelled()
            job.progress(start, limit, f"{count:,} primes so far")
        found = _sieve(start, min(start + _SIEVE_SEGMENT, limit + 1), base)
        count += len(found)
        first = first if len(first) >= 25 else [*first, *found][:25]  # noqa: PLR2004 - the number the docstring names
        last = [*last, *found[-25:]][-25:]
    return Primes(limit=limit, count=count, first=first, last=last)


def _sieve(start: int, end: int, base: list[int]) -> list[int]:
    """The primes from start to before end; `base` holds those up to the root of end, or nothing when start is 0."""
    flags = bytearray([1]) * (end - start)
    if start == 0:
        flags[:2] = bytes(min(2, end))
    roots = base or range(2, math.isqrt(end) + 1)
    for prime in roots:
        if prime * prime >= end:
            break
        begin = max(prime * prime, -(-start // prime) * prime) - start
        flags[begin::prime] = bytes(len(range(begin, len(flags), prime)))
    return [start + i for i, flag in enumerate(flags) if flag]
