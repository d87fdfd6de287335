"""What somebody revokes through Celery (`AsyncResult.revoke`, `celery control`, Flower): the ledger is told of jobs.

Celery drops the message of a task that was revoked, and writes REVOKED where its result would be. A job would be
published again, and dropped again, until its deadline; and who waits for it would find a result that is no outcome.
"""

import logging
from typing import Any, Final

from celery import Celery
from celery.signals import task_revoked

from dispatcher.model.job import JobState
from dispatcher.settings import Settings
from dispatcher.transport.commands import Commands
from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.message import WAKE_UP_HEADER

logger = logging.getLogger(__name__)

#: Why such a job was cancelled.
REASON: Final = "revoked through Celery"


class Revocations:
    """In a node's main process, while it consumes.

    Args:
        app: whose tasks are revoked.
        ledger: safe to share with other threads of the process.
        settings: for the names of keys.
    """

    def __init__(self, app: Celery, ledger: Ledger, settings: Settings) -> None:
        self._app = app
        self._ledger = ledger
        self._commands = Commands(settings)
        self._mark = app.backend.mark_as_revoked

    def watch(self) -> None:
        """From now on."""
        self._app.backend.mark_as_revoked = self._mark_as_revoked
        task_revoked.connect(self._on_revoked, weak=False)

    def _mark_as_revoked(self, task_id: str, *args: Any, store_result: bool = True, **kwargs: Any) -> None:  # noqa: ANN401 - Celery's signature
        """In place of the backend's own."""
        if store_result and self._take_back(task_id):
            store_result = False
        self._mark(task_id, *args, store_result=store_result, **kwargs)

    def _take_back(self, task_id: str) -> bool:
        """Cancel a job that waits; one that runs goes on, as any task does. Whether it is a job."""
        status = self._ledger.status(self._commands.keys, task_id)
        if status is not None and status.state is JobState.WAITING:
            self._cancel(task_id, hard=False)
        return status is not None

    def _on_revoked(self, sender: Any, request: Any, terminated: bool, expired: bool, **_: Any) -> None:  # noqa: ANN401, FBT001 - a Celery signal
        """A message was dropped, or what ran for it was terminated: then nobody is left to say how it ended."""
        if expired or sender.app is not self._app or request.get(WAKE_UP_HEADER) is None:
            return
        try:
            self._cancel(request.id, hard=terminated)
        except SERVER_FAILURES as error:
            # It is published again, and dropped again.
            logger.warning("revocation_not_recorded: %s", error, extra={"job_id": request.id, "reason": str(error)})

    def _cancel(self, job_id: str, *, hard: bool) -> None:
        self._ledger.run(self._commands.cancel(job_id, reason=REASON, hard=hard))
