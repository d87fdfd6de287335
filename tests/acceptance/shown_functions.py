"""The functions whose calls the dashboard's tests look at."""

import asyncio
from datetime import timedelta

from dispatcher import Registry, RetryPolicy, current_job

registry = Registry()


@registry.function(name="shop.greet")
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Good morning, {name}"


@registry.function(name="shop.sign_in", sensitive={"password"})
def sign_in(user: str, password: str) -> str:
    """Let somebody in, and say so without the password."""
    return f"{user} is in, with {len(password)} characters"


@registry.function(name="shop.refuse", sensitive={"password"})
def refuse(user: str, password: str) -> str:
    """Fail, and say too much."""
    msg = f"{user} may not enter with {password}"
    raise PermissionError(msg)


@registry.function(name="shop.new_key", sensitive={"seed"}, sensitive_result=True)
def new_key(seed: str) -> str:
    """Return what nobody but the caller may see."""
    return f"key made of {seed}"


@registry.function(
    name="shop.fetch", retry=RetryPolicy(max_attempts=3, first_wait=timedelta(seconds=0.1), jitter=False)
)
def fetch(order: int) -> str:
    """Succeed at the third attempt."""
    if current_job().attempt < 3:
        msg = "the shop does not answer"
        raise ConnectionError(msg)
    return f"order {order}"


@registry.function(name="shop.watch")
async def watch(seconds: float) -> str:
    """Take a while."""
    await asyncio.sleep(seconds)
    return "nothing happened"
