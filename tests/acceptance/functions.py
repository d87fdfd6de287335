"""The functions that the workers of these tests run.

Many leave a mark when they start and when they end, a line in a file of the test's choice: so a test counts what really
ran, whatever the ledger says about it.
"""

import asyncio
import ctypes
import os
import signal
import sys
import time
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from dispatcher import GiveUp, Registry, RetryLater, RetryPolicy, current_job, current_job_or_none

#: Names the folder of the marks.
MARKS_VARIABLE = "ACCEPTANCE_MARKS"

#: Quick retries with waits that a test can rely on.
QUICK = RetryPolicy(max_attempts=3, first_wait=timedelta(milliseconds=50), factor=1, jitter=False)

registry = Registry()


def mark(label: str, text: str) -> int:
    """Add a line to the label's file; says how many it holds now."""
    path = Path(os.environ[MARKS_VARIABLE]) / label
    with path.open("a") as file:
        file.write(f"{text}\n")
    return len(path.read_text().splitlines())


# --- arithmetic, for calls that just work


@registry.function
def add(a: int, b: int = 0) -> int:
    """Add two numbers."""
    return a + b


@registry.function
async def add_async(a: int, b: int = 0) -> int:
    """Add two numbers, as a coroutine."""
    await asyncio.sleep(0)
    return a + b


@registry.function
def double(number: int) -> int:
    """Multiply by two."""
    return number * 2


@registry.function
def total(numbers: list[int]) -> int:
    """Add up numbers."""
    return sum(numbers)


@registry.function
def pay(amount: Decimal, on: date) -> Decimal:
    """Add the fee of one cent, from 2030 on."""
    return amount + Decimal("0.01") if on.year >= 2030 else amount


@registry.function
def repeat(text: str, times: int) -> str:
    """Say it over and over."""
    return text * times


@registry.function
def echo(value: object) -> object:
    """Give back any JSON."""
    return value


@registry.function
def check(number: int, ratio: float = 1.0, flag: bool = False, text: str = "") -> str:
    """Take one of each kind of scalar."""
    return f"{number} {ratio} {flag} {text}"


@registry.function(sensitive=["password"])
def log_in(user: str, password: str) -> str:
    """Refuse everybody, and say too much."""
    msg = f"{user} may not log in with {password}"
    raise PermissionError(msg)


# --- what can be seen from inside


@registry.function
def whoami() -> dict[str, str | int]:
    """Tell what the function can know of its job."""
    job = current_job_or_none()
    if job is None:
        return {"id": ""}
    return {
        "id": job.id,
        "attempt": job.attempt,
        "key": job.idempotency_key,
        "left": int(job.time_left.total_seconds()),
    }


@registry.function
def report(label: str) -> str:
    """Tell its progress until it is told to go on."""
    current_job().progress(3, 10, "three of ten")
    mark(label, "reported")
    while not (Path(os.environ[MARKS_VARIABLE]) / f"{label}.go").exists():
        time.sleep(0.02)
    return "done"


# --- failing


@registry.function
def fail(message: str = "it is broken") -> int:
    """Fail."""
    raise ValueError(message)


@registry.function(retry=QUICK)
def flaky(label: str, failures: int) -> int:
    """Fail so many times, then give the number of tries."""
    tries = mark(label, "tried")
    if tries <= failures:
        msg = f"try {tries}"
        raise ConnectionError(msg)
    return tries


@registry.function(retry=QUICK)
def later(label: str, after_ms: int) -> int:
    """Ask to be tried again, once."""
    tries = mark(label, f"{time.time():.3f}")
    if tries == 1:
        raise RetryLater(timedelta(milliseconds=after_ms), "not yet")
    return tries


@registry.function(retry=QUICK)
def give_up(label: str) -> int:
    """Never try this again."""
    mark(label, "tried")
    msg = "there is no such customer"
    raise GiveUp(msg)


@registry.function
def leave(code: int = 3) -> int:
    """Call sys.exit, as a script would."""
    sys.exit(code)


@registry.function
def crash(label: str) -> int:
    """End the process that runs it, as a fault in a C library would."""
    mark(label, "ran")
    ctypes.string_at(0)
    return 0


@registry.function
def crash_at(label: str, number: int) -> int:
    """Kill its process where the number is 11."""
    mark(label, f"start {os.getpid()} {number}")
    if number == 11:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@registry.function
def huge(size: int) -> str:
    """Return so many characters."""
    return "x" * size


@registry.function
def wrong() -> int:
    """Return what it says it does not."""
    return "text"  # type: ignore[return-value]


@registry.function
def surrogate() -> str:
    """Return what is no text."""
    return "\ud800"


# --- what no function should do


@registry.function
def fork_and_return() -> str:
    """Fork, and forget that the child comes back out of here too."""
    return "child" if os.fork() == 0 else "parent"


@registry.function
async def stop_loop() -> str:
    """Stop the event loop, as if it were its own."""
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)
    return "stopped"


# --- taking long


def _hold(label: str, seconds: float) -> str:
    mark(label, f"start {os.getpid()}")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.02)
    mark(label, "end")
    return "held"


@registry.function
def hold(label: str, seconds: float) -> str:
    """Take long, in small steps."""
    return _hold(label, seconds)


@registry.function
def hold_first(label: str, seconds: float) -> str:
    """Take long the first time, and no time after that."""
    mark(label, f"start {os.getpid()}")
    first = len((Path(os.environ[MARKS_VARIABLE]) / label).read_text().splitlines()) == 1
    time.sleep(seconds if first else 0)
    mark(label, "end")
    return "held"


@registry.function(delivery="at_most_once")
def hold_once(label: str, seconds: float) -> str:
    """Take long, and never run twice."""
    return _hold(label, seconds)


@registry.function
async def hold_async(label: str, seconds: float) -> str:
    """Take long, as a coroutine."""
    mark(label, f"start {os.getpid()}")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        mark(label, "cancelled")
        raise
    mark(label, "end")
    return "held"


@registry.function
async def hold_async_first(label: str, seconds: float) -> str:
    """Take long the first time, and no time after that, as a coroutine."""
    first = mark(label, f"start {os.getpid()}") == 1
    await asyncio.sleep(seconds if first else 0)
    return "held"


@registry.function(timeout=timedelta(seconds=1))
async def wait_briefly(label: str, seconds: float) -> str:
    """Take longer than it may, as a coroutine."""
    mark(label, f"start {os.getpid()}")
    await asyncio.sleep(seconds)
    return "waited"


@registry.function
async def swallow_async(label: str, seconds: float) -> str:
    """Hear that it is cancelled, and go on, as a coroutine."""
    mark(label, f"start {os.getpid()}")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            mark(label, "swallowed")
    mark(label, "end")
    return "swallowed"


@registry.function(timeout=timedelta(seconds=1))
async def swallow_timeout_async(label: str, seconds: float) -> str:
    """Hear of its timeout, and go on, as a coroutine."""
    mark(label, f"start {os.getpid()}")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            mark(label, "swallowed")
    return "swallowed"


@registry.function(timeout=timedelta(seconds=1))
async def block_loop(label: str, seconds: float) -> str:
    """Hold up the loop that it shares with others."""
    mark(label, f"start {os.getpid()}")
    time.sleep(seconds)  # noqa: ASYNC251 - what this function is about
    mark(label, "end")
    return "blocked"


@registry.function
async def leave_async(code: int = 3) -> int:
    """Call sys.exit, as a script would, in a coroutine."""
    await asyncio.sleep(0)
    sys.exit(code)


@registry.function
def tidy(label: str, seconds: float) -> str:
    """Take long, and clean up when stopped."""
    try:
        return _hold(label, seconds)
    finally:
        mark(label, "cleaned up")


@registry.function(timeout=timedelta(seconds=1))
def sleep_in_c(label: str, seconds: float) -> str:
    """Sleep in one call of the system."""
    mark(label, f"start {os.getpid()}")
    time.sleep(seconds)
    mark(label, "end")
    return "slept"


def _swallow(label: str, seconds: float) -> str:
    mark(label, f"start {os.getpid()}")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            time.sleep(0.02)
        except BaseException as error:  # noqa: BLE001 - what this function is about
            mark(label, f"swallowed {type(error).__name__}")
    mark(label, "end")
    return "swallowed"


@registry.function(timeout=timedelta(seconds=1))
def swallow_timeout(label: str, seconds: float) -> str:
    """Hear of its timeout, and go on."""
    return _swallow(label, seconds)


@registry.function
def swallow(label: str, seconds: float) -> str:
    """Hear that it is cancelled, and go on."""
    return _swallow(label, seconds)


@registry.function(queue="idle")
def idle(number: int) -> int:
    """Do nothing, in a queue that only one worker looks at."""
    return number
