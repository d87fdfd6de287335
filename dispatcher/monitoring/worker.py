"""What a worker's app shows of itself: metrics from its main process, and the dashboard of Celery's own command."""

import logging
from typing import Any

import click
from celery import Celery
from celery.signals import import_modules, worker_ready

from dispatcher.errors import SettingsError
from dispatcher.settings import Settings
from dispatcher.transport.app import hide_results

logger = logging.getLogger(__name__)


def show_worker(app: Celery, settings: Settings, url: str) -> None:
    """Let an app serve metrics where it works and a port is set, and close its dashboard to strangers.

    Args:
        app: of a worker.
        settings: its metrics port; the dashboard's password.
        url: the server that holds the ledger.
    """

    def on_ready(sender: Any, **_: Any) -> None:  # noqa: ANN401 - a Celery signal
        """In the node's main process, when it consumes."""
        # Celery sends the signals of every app in the process.
        if sender.app is app and settings.metrics_port is not None:
            _serve_metrics(settings, url, settings.metrics_port)

    def on_import_modules(**_: Any) -> None:  # noqa: ANN401
        """In every program that uses the app for more than sending; here for `celery -A yours flower` alone."""
        command = click.get_current_context(silent=True)
        if command is not None and command.info_name == "flower":
            from dispatcher.monitoring.flower import close_dashboard  # noqa: PLC0415 - a worker never needs it

            close_dashboard(settings)
            hide_results(app)

    # weak=False: the signals are all that keeps these functions alive.
    worker_ready.connect(on_ready, weak=False)
    import_modules.connect(on_import_modules, sender=app, weak=False)


def _serve_metrics(settings: Settings, url: str, port: int) -> None:
    try:
        from dispatcher.monitoring.metrics import serve_metrics  # noqa: PLC0415 - needs what may not be installed

        serve_metrics(settings, url, port)
    except (SettingsError, OSError) as error:
        # Not installed, or another node of this machine has the port, and tells the same.
        logger.warning("metrics_not_served: %s", error, extra={"port": port, "reason": str(error)})
