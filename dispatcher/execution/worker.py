"""A Celery app that runs the functions of a registry: `celery -A yours worker` needs nothing more."""

import logging
import os
import socket
import threading
from importlib import import_module
from typing import Any

import click
from celery import Celery
from celery.signals import after_setup_logger, import_modules, worker_process_init, worker_ready, worker_shutdown

from dispatcher.clock import SystemClock
from dispatcher.errors import SettingsError
from dispatcher.execution import celery_task
from dispatcher.execution.execute import Executor
from dispatcher.execution.log_lines import show_fields
from dispatcher.execution.sweeper import Sweeper
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings
from dispatcher.transport.app import create_app, hide_results
from dispatcher.transport.broker import Broker
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import find_server
from dispatcher.transport.keys import Keys
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.nodes import NodeReporter, describe_node

logger = logging.getLogger(__name__)


class WorkerSide:
    """What the processes of one worker node need; each process makes its own executor."""

    def __init__(self, registry: Registry, settings: Settings, url: str) -> None:
        self._registry = registry
        self._settings = settings
        self._url = url
        self._executor: Executor | None = None
        self._owner = 0
        self._lock = threading.Lock()
        self._made_in = os.getpid()
        self._in_pool_process = False
        self._sweeper: Sweeper | None = None
        self._reporter: NodeReporter | None = None
        self._keys = Keys(settings.namespace, settings.result_prefix)
        #: Whose signals these are: Celery sends those of every app in the process.
        self.app: Celery | None = None

    def executor(self) -> Executor:
        """The executor of the calling process; made at its first use, anew after a fork."""
        with self._lock:
            if self._executor is None or self._owner != os.getpid():
                ledger = Ledger(connect(self._url, role="worker"))
                self._executor = Executor(self._registry, ledger, self._settings, in_pool_process=self._in_pool_process)
                self._owner = os.getpid()
            return self._executor

    def on_process_init(self, **_: Any) -> None:  # noqa: ANN401 - a Celery signal
        """In a process of the prefork pool; in the solo pool too, which runs in the node's only process."""
        self._lock = threading.Lock()
        self._in_pool_process = os.getpid() != self._made_in

    def on_ready(self, sender: Any = None, **_: Any) -> None:  # noqa: ANN401
        """In the node's main process, when it consumes."""
        if self.app is None or sender.app is not self.app:
            return
        node = getattr(sender, "hostname", None) or socket.gethostname()
        ledger = Ledger(connect(self._url, role="sweeper"))
        self._sweeper = Sweeper(Broker(self.app, node), ledger, self._settings, node)
        self._sweeper.start()
        described = describe_node(sender, self._registry.fingerprint)
        self._reporter = NodeReporter(ledger, self._keys, described, SystemClock())
        self._reporter.start()
        if self._settings.metrics_port is not None:
            self._serve_metrics(self._settings.metrics_port)

    def on_shutdown(self, sender: Any = None, **_: Any) -> None:  # noqa: ANN401
        """In the node's main process, at its end."""
        if sender.app is not self.app:
            return
        if self._sweeper is not None:
            self._sweeper.stop()
        if self._reporter is not None:
            self._reporter.stop()

    def on_import_modules(self, sender: Any = None, **_: Any) -> None:  # noqa: ANN401
        """In every program that uses the app for more than sending; here for `celery -A yours flower` alone."""
        command = click.get_current_context(silent=True)
        if command is not None and command.info_name == "flower":
            # By name: monitoring stands above this room, and is optional.
            import_module("dispatcher.monitoring.flower").close_dashboard(self._settings)
            hide_results(sender)

    def _serve_metrics(self, port: int) -> None:
        try:
            # By name, as above.
            import_module("dispatcher.monitoring.metrics").serve_metrics(self._settings, self._url, port)
        except (SettingsError, OSError) as error:
            # Not installed, or another node of this machine has the port, and tells the same.
            logger.warning("metrics_not_served: %s", error, extra={"port": port, "reason": str(error)})


def _show_fields(logger: logging.Logger, **_: Any) -> None:  # noqa: ANN401 - a Celery signal
    show_fields(logger)


def create_worker_app(registry: Registry, settings: Settings | None = None, *, name: str = "dispatcher") -> Celery:
    """Make the Celery app of a worker.

    Args:
        registry: the functions it runs.
        settings: read from the environment when None.
        name: the Celery app's own name.

    Raises:
        NoServerError: no server is configured, and none could be started here.
    """
    settings = settings or Settings.load()
    url, _server = find_server(settings)
    app = create_app(settings, url, registry, name=name)
    side = WorkerSide(registry, settings, url)
    side.app = app
    celery_task.register(app, registry, side.executor)
    # weak=False: the signals are all that keeps the worker's side alive.
    after_setup_logger.connect(_show_fields, weak=False)
    worker_process_init.connect(side.on_process_init, weak=False)
    worker_ready.connect(side.on_ready, weak=False)
    worker_shutdown.connect(side.on_shutdown, weak=False)
    import_modules.connect(side.on_import_modules, sender=app, weak=False)
    return app
