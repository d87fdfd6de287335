"""The worker's side of a Celery app: what its processes need, from when they start to when they end."""

import codecs
import gc
import logging
import os
import sys
import threading
import warnings
from typing import Any

from celery import Celery, concurrency
from celery.exceptions import CPendingDeprecationWarning
from celery.signals import (
    after_setup_logger,
    worker_before_create_process,
    worker_process_init,
    worker_ready,
    worker_shutdown,
)

from dispatcher.clock import SystemClock
from dispatcher.execution import celery_task, coroutines
from dispatcher.execution.event_pace import EventPace
from dispatcher.execution.execute import Executor
from dispatcher.execution.lean_hub import LeanHub
from dispatcher.execution.log_lines import show_fields
from dispatcher.execution.prompt_pool import PromptPool
from dispatcher.execution.revocation import Revocations
from dispatcher.execution.sweeper import Sweeper
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings
from dispatcher.transport.app import create_app, end_promptly
from dispatcher.transport.broker import Broker
from dispatcher.transport.connection import connect
from dispatcher.transport.facts import warn_of_eviction
from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.keys import Keys
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.nodes import NodeReporter, describe_node
from dispatcher.transport.replies import WakeUp
from dispatcher.transport.script import script

logger = logging.getLogger(__name__)

#: What every call asks of the ledger: read once for all processes of a pool.
FIRST_SCRIPTS = ("lease", "settle")
#: Python looks for a host by its name in this encoding, and has it in a module: each process would import its own.
HOST_ENCODING = "idna"


class WorkerSide:
    """What the processes of one worker node need; each process makes its own executor."""

    def __init__(self, app: Celery, registry: Registry, settings: Settings, url: str) -> None:
        #: Whose signals these are: Celery sends those of every app in the process.
        self._app = app
        self._registry = registry
        self._settings = settings
        self._url = url
        self._executor: Executor | None = None
        self._owner = 0
        self._lock = threading.Lock()
        self._publishing = threading.Lock()
        self._broker: Broker | None = None
        self._broker_owner = 0
        self._made_in = os.getpid()
        self._in_pool_process = False
        self._frozen = False
        self._sweeper: Sweeper | None = None
        self._reporter: NodeReporter | None = None
        self._keys = Keys(settings.namespace, settings.result_prefix)

    def executor(self) -> Executor:
        """The executor of the calling process; made at its first use, anew after a fork."""
        with self._lock:
            if self._executor is None or self._owner != os.getpid():
                runner = coroutines.shared() or coroutines.CoroutineRunner()
                self._executor = Executor(
                    self._registry,
                    runner.ledger(self._url),
                    self._settings,
                    in_pool_process=self._in_pool_process,
                    coroutines=runner,
                    publish=self._publish,
                )
                self._owner = os.getpid()
            return self._executor

    def _publish(self, wake_up: WakeUp) -> None:
        """Put a wake-up back into its queue, from any thread of this process."""
        with self._publishing:
            if self._broker is None or self._broker_owner != os.getpid():
                self._broker, self._broker_owner = self._new_broker(f"worker-{os.getpid()}"), os.getpid()
            try:
                self._broker.publish([wake_up])
            except SERVER_FAILURES:
                self._broker.disconnect()
                raise

    def _new_broker(self, origin: str) -> Broker:
        return Broker(self._app, origin, on_reserve=True)

    def before_fork(self, **_: Any) -> None:  # noqa: ANN401 - a Celery signal
        """In the node's main process, before each process of the prefork pool is made.

        What is there by then stays in all of them: their collectors must not write to it, or each gets a copy of its
        own (a third of a node's memory, all pages counted once). Once: what comes later must not be kept for ever.
        """
        if not self._frozen:
            self._frozen = True
            codecs.lookup(HOST_ENCODING)
            for name in FIRST_SCRIPTS:
                script(name)
            gc.freeze()

    def on_process_init(self, **_: Any) -> None:  # noqa: ANN401 - a Celery signal
        """In a process of the prefork pool; in the solo pool too, which runs in the node's only process."""
        end_promptly()
        self._lock, self._publishing = threading.Lock(), threading.Lock()
        self._in_pool_process = os.getpid() != self._made_in
        if self._in_pool_process:
            # Not held up by it: a pool ends a process that is not up within seconds, and the server may be away.
            threading.Thread(target=self._warm_up, name="dispatcher-warm-up", daemon=True).start()

    def _warm_up(self) -> None:
        """Make ready what the first call needs, while the node's main process still starts (benchmark: start)."""
        try:
            self.executor().connect()
        except SERVER_FAILURES as error:
            # The first call tries again, and says so louder.
            logger.debug("not_warm: %s", error, extra={"reason": str(error)})

    def on_ready(self, sender: Any, **_: Any) -> None:  # noqa: ANN401
        """In the node's main process, when it consumes."""
        if sender.app is not self._app:
            return
        ledger = Ledger(connect(self._url, role="sweeper"))
        warn_of_eviction(ledger.client)
        self._sweeper = Sweeper(self._new_broker(sender.hostname), ledger, self._settings, sender.hostname)
        self._sweeper.start()
        Revocations(self._app, ledger, self._settings).watch()
        described = describe_node(sender, self._registry.fingerprint)
        self._reporter = NodeReporter(ledger, self._keys, described, SystemClock())
        self._reporter.start()

    def on_shutdown(self, sender: Any, **_: Any) -> None:  # noqa: ANN401
        """In the node's main process, at its end."""
        if sender.app is not self._app:
            return
        if self._sweeper is not None:
            self._sweeper.stop()
        if self._reporter is not None:
            self._reporter.stop()


def _show_fields(logger: logging.Logger, **_: Any) -> None:  # noqa: ANN401 - a Celery signal
    show_fields(logger)


def offer_asyncio_pool() -> None:
    """Let Celery know our pool by its name, in `--pool asyncio` and in the setting `worker_pool`."""
    concurrency.ALIASES["asyncio"] = "dispatcher.execution.asyncio_pool:TaskPool"
    command = sys.modules.get("celery.bin.worker")
    if command is not None:
        # Celery's command line made its list of choices before it looked at the app.
        command.WORKERS_POOL.choices = concurrency.get_available_pool_names()


def make_worker_app(registry: Registry, settings: Settings, url: str, *, name: str) -> Celery:
    """Make a Celery app that runs the functions of a registry.

    Args:
        registry: the functions.
        settings: bounds and intervals.
        url: the server that holds the ledger.
        name: the Celery app's own name.
    """
    offer_asyncio_pool()
    # Nine lines at each lost connection, about messages that are acknowledged late: ours are not (Celery 5.7.0).
    warnings.filterwarnings("ignore", r"\s*In Celery 5\.1 we introduced an optional", CPendingDeprecationWarning)
    app = create_app(settings, url, registry, name=name)
    side = WorkerSide(app, registry, settings, url)
    app.steps["worker"].update((LeanHub, PromptPool))
    app.steps["consumer"].add(EventPace)
    celery_task.register(app, registry, side.executor)
    # weak=False: the signals are all that keeps the worker's side alive.
    after_setup_logger.connect(_show_fields, weak=False)
    worker_before_create_process.connect(side.before_fork, weak=False)
    worker_process_init.connect(side.on_process_init, weak=False)
    worker_ready.connect(side.on_ready, weak=False)
    worker_shutdown.connect(side.on_shutdown, weak=False)
    return app
