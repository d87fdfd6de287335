"""What `dispatcher worker` tells Celery."""

import pytest

from dispatcher.cli.worker import _celery_arguments


@pytest.mark.parametrize(
    ("pool", "given", "told"),
    [
        ("asyncio", None, ["--concurrency=1000"]),
        ("asyncio", 5, ["--concurrency=5"]),
        ("prefork", None, []),
        ("prefork", 3, ["--concurrency=3"]),
    ],
)
def test_coroutines_are_many_where_nobody_says_how_many(pool: str, given: int | None, told: list[str]) -> None:
    arguments = _celery_arguments("n", pool=pool, concurrency=given, queues=None, loglevel="info", rest=[])
    assert [argument for argument in arguments if argument.startswith("--concurrency")] == told
    assert f"--pool={pool}" in arguments
