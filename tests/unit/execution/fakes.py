"""A ledger that says what a test wants, for an executor without a server."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from dispatcher.model.envelope import Envelope
from dispatcher.transport import outcomes
from dispatcher.transport.ledger import Asked
from dispatcher.transport.outcomes import CallRecord, JobRecord
from dispatcher.transport.replies import Lease, Looked
from dispatcher.transport.script import Command

ACCEPTED = datetime(2030, 1, 1, tzinfo=UTC)


def lease_of(function: str, *arguments: dict[str, Any] | str, **changes: Any) -> Lease:
    """A lease on a job with these calls; one call without arguments when none is given."""
    calls = tuple(one if isinstance(one, str) else json.dumps(one) for one in arguments or ({},))
    values: dict[str, Any] = {
        "job_id": "job-1",
        "token": 1,
        "attempt": 1,
        "failures": 0,
        "lost": 0,
        "time_left": timedelta(minutes=10),
        "accepted_at": ACCEPTED,
        "deadline_at": ACCEPTED + timedelta(minutes=10),
        "function": function,
        "idempotency_key": "",
        "delivery": "at_least_once",
        "envelope": Envelope(function=function, version="1", calls=calls).encode(),
        "done": {},
    }
    return Lease(**{**values, **changes})


class FakeLedger:
    """Answers each script from its list, the last answer again and again; remembers what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, list[Any]] = {
            "settle": ["settled"],
            "heartbeat": [lambda command: ["kept"] * (len(command.args) // 3)],
            "look": [Looked(action="nothing")],
            "postpone": [None],
            "save": ["saved"],
            **{name: value if isinstance(value, list) else [value] for name, value in answers.items()},
        }
        self.asked: list[Command[Any]] = []
        #: Sent, and not waited for.
        self.unread: list[Command[Any]] = []

    def run(self, command: Command[Any]) -> Any:
        self.asked.append(command)
        answers = self.answers[command.script]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, BaseException):
            raise answer
        if callable(answer):
            return answer(command)
        several = command.script == "settle" and len(command.keys) > 2
        return [answer] * (len(command.keys) - 1) if several else answer

    def ask(self, command: Command[Any]) -> Asked[Any]:
        """Its answer is made when it is read, as `run` makes it."""
        self.unread.append(command)
        return Asked(command, None)  # type: ignore[arg-type]  # there is no connection

    def answer(self, asked: Asked[Any]) -> Any:
        self.unread.remove(asked.command)
        return self.run(asked.command)

    def forget(self, asked: Asked[Any]) -> None:
        self.unread.remove(asked.command)

    def run_many_settled(self, commands: list[Command[Any]]) -> list[Any]:
        return [self.run(command) for command in commands]

    def asked_for(self, script: str) -> list[Command[Any]]:
        return [command for command in self.asked if command.script == script]

    def settled(self) -> Iterator[tuple[Any, ...]]:
        """The words of each settlement that was asked for, alone or with others."""
        for command in self.asked_for("settle"):
            at = 0
            while at < len(command.args):
                words = int(command.args[at])
                yield command.args[at + 1 : at + 1 + words]
                at += 1 + words

    def settlements(self) -> Iterator[JobRecord]:
        """The outcomes that were to be recorded."""
        for words in self.settled():
            if words[2] != "scheduled":
                yield outcomes.decode(str(words[3]))

    def retries(self) -> Iterator[tuple[timedelta, dict[int, CallRecord]]]:
        """The retries that were asked for: wait, and what stands already."""
        for words in self.settled():
            if words[2] == "scheduled":
                yield timedelta(milliseconds=int(words[4])), outcomes.decode_done(str(words[3]))


Answer = Callable[[Command[Any]], Any]
