"""A wake-up as a message: Celery's headers for it, and the text of it in a Redis queue of kombu's.

Where the broker is the ledger's own server, the script that accepts a job puts its message into the queue as well, so
that what is accepted is published, in one round trip. Any worker reads it as if kombu had written it.

Source: Celery's message protocol, version 2; kombu's virtual transports (`virtual.Channel.prepare_message`).
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pydantic_core import to_json

from dispatcher.model.ids import new_id
from dispatcher.transport.replies import WakeUp

#: The header that tells a wake-up from a plain Celery call of the same task.
WAKE_UP_HEADER: Final = "dispatcher_job"
#: The header that names the further jobs of a wake-up for many.
OTHERS_HEADER: Final = "dispatcher_others"

#: No arguments: the ledger has them.
BODY: Final[list[Any]] = [[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
#: The same as it stands in a message.
BODY_TEXT: Final = (
    "W1tdLCB7fSwgeyJjYWxsYmFja3MiOiBudWxsLCAiZXJyYmFja3MiOiBudWxsLCAiY2hhaW4iOiBudWxsLCAiY2hvcmQiOiBudWxsfV0="
)
#: The same as a worker gets it.
BODY_BYTES: Final = base64.b64decode(BODY_TEXT)


def new_body() -> list[Any]:
    """A copy of the body, for somebody who may change it."""
    args, kwargs, embed = BODY
    return [args.copy(), kwargs.copy(), embed.copy()]


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A wake-up as it is put into a queue, for jobs that are accepted together with it."""

    #: The broker's list.
    list_key: str
    text: str
    #: The positions of the first and the last job that it wakes, among those accepted with it.
    first: int
    last: int


def headers(wake_up: WakeUp, origin: str) -> dict[str, Any]:
    """The message headers of a wake-up.

    Args:
        wake_up: what it says.
        origin: who publishes it, as Flower and logs show it.
    """
    return {
        "lang": "py",
        "task": wake_up.function,
        "id": wake_up.job_id,
        "root_id": wake_up.job_id,
        "parent_id": None,
        "group": None,
        "shadow": None,
        "eta": None,
        "expires": None,
        "retries": wake_up.attempts,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": wake_up.shown,
        "origin": origin,
        # The outcome is the ledger's to store; Celery must not write under the same key.
        "ignore_result": True,
        WAKE_UP_HEADER: 1,
        **({"dispatcher_head": True} if wake_up.head else {}),
        **({OTHERS_HEADER: list(wake_up.others)} if wake_up.others else {}),
    }


def named_jobs(job_id: str, headers: Mapping[str, Any]) -> list[str]:
    """The jobs that a delivered wake-up is for.

    Args:
        job_id: the message's own id.
        headers: the message's, or what Celery made of them.
    """
    others = headers.get(OTHERS_HEADER) or ()
    return [job_id, *(other for other in others if isinstance(other, str))]


def write_message(wake_up: WakeUp, origin: str) -> str:
    """The text that kombu would push into the queue's list."""
    return _write(wake_up, origin, new_id())


def write_plain_message(job_id: str, shown: str, *, function: str, queue: str, origin: str) -> str:
    """The same for the first attempt of one job: but for its ids and its arguments, as other jobs' of its function.

    It takes a fifth of the time (`benchmarks.calls --only single`).
    """
    text = _frame(function, queue, origin)
    return text.replace(_JOB, job_id).replace(_TAG, new_id()).replace(f'"{_SHOWN}"', to_json(shown).decode(), 1)


#: Stand in a frame for what is put in: nobody can have named anything so.
_JOB, _TAG, _SHOWN = new_id(), new_id(), new_id()


@lru_cache(maxsize=1024)
def _frame(function: str, queue: str, origin: str) -> str:
    return _write(WakeUp(job_id=_JOB, function=function, queue=queue, shown=_SHOWN), origin, _TAG)


def _write(wake_up: WakeUp, origin: str, tag: str) -> str:
    return to_json(
        {
            "body": BODY_TEXT,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers(wake_up, origin),
            "properties": {
                "correlation_id": wake_up.job_id,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": wake_up.queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": tag,
            },
        }
    ).decode()
