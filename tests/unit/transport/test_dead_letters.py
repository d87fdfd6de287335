"""Dead letters, without a server."""

from types import SimpleNamespace

import pytest
from redis.exceptions import ConnectionError as BrokenConnectionError
from redis.exceptions import OutOfMemoryError

from dispatcher.errors import Acceptance, ServerError
from dispatcher.settings import Settings
from dispatcher.transport.commands import Commands
from dispatcher.transport.dead_letters import DeadLetters


@pytest.mark.parametrize(
    ("problem", "accepted"),
    [
        (BrokenConnectionError("Connection closed by server."), Acceptance.UNKNOWN),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), Acceptance.NO),
    ],
)
async def test_a_replay_that_failed_says_whether_the_job_may_live_again(problem, accepted) -> None:
    async def fail(_: object) -> None:
        raise problem

    settings = Settings()
    ledger = SimpleNamespace(client=None, run=fail)
    letters = DeadLetters(ledger, Commands(settings), None, settings, "redis://host:6379/0")
    with pytest.raises(ServerError) as caught:
        await letters.replay("job")
    assert caught.value.accepted is accepted
