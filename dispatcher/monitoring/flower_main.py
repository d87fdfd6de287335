"""The dashboard as a program: `python -m dispatcher.monitoring.flower_main`, as `FlowerLauncher` starts it.

All it must know is in the environment and in the state folder. It ends with its standard input: with its parent.
"""

import logging
import os
import signal
import sys
from typing import Any

from flower.app import Flower
from flower.command import apply_env_options, setup_logging
from flower.urls import settings as flower_settings
from tornado.options import options

from dispatcher.monitoring.flower import COLUMNS, HOST, USER, Password
from dispatcher.parent import end_with_parent
from dispatcher.settings import Settings
from dispatcher.transport.app import create_app, hide_results

logger = logging.getLogger(__name__)


def main() -> None:
    """Serve the dashboard until SIGTERM, SIGINT, or the end of the parent."""
    settings = Settings.load()
    if settings.url is None:
        sys.exit("DISPATCHER_URL must name the server")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    setup_logging()
    _set_options(settings)
    app = create_app(settings, settings.url.get_secret_value())
    hide_results(app)
    dashboard = Flower(capp=app, options=options, **flower_settings)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    end_with_parent()
    dashboard.start_http_server()
    logger.info("dashboard on http://%s:%s", HOST, settings.flower_port)
    try:
        dashboard.start()
    except (KeyboardInterrupt, SystemExit):
        dashboard.stop()


def _set_options(settings: Settings) -> None:
    """Flower's own FLOWER_… variables may change how it looks; who may look is ours to say."""
    apply_env_options()
    if "FLOWER_TASKS_COLUMNS" not in os.environ:
        options.tasks_columns = COLUMNS
    options.format_task = _show_error
    options.address, options.port, options.unix_socket = HOST, settings.flower_port, ""
    options.basic_auth = [f"{USER}:{Password.of(settings).text}"]
    options.read_only = True
    # Flower keeps what it saw in a pickle.
    options.persistent = False
    options.debug = False


def _show_error(task: Any) -> Any:  # noqa: ANN401 - Flower's copy of Celery's record of a task
    """Put the error where the result of a call that succeeded stands."""
    if task.state in {"FAILURE", "RETRY"}:
        task.result = task.exception
    return task


if __name__ == "__main__":
    main()
