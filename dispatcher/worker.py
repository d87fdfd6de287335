"""A worker's Celery app, put together: `celery -A yours worker` and `celery -A yours flower` need nothing more."""

from celery import Celery

from dispatcher.execution.worker import make_worker_app
from dispatcher.monitoring.worker import show_worker
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings


def create_worker_app(registry: Registry, settings: Settings | None = None, *, name: str = "dispatcher") -> Celery:
    """Make the Celery app of a worker.

    Args:
        registry: the functions it runs.
        settings: read from the environment when None.
        name: the Celery app's own name.

    Raises:
        NoServerError: no server is configured, and none could be started here.
    """
    settings = settings if settings is not None else Settings.load()
    url = _server_url(settings)
    app = make_worker_app(registry, settings, url, name=name)
    show_worker(app, settings, url)
    return app


def _server_url(settings: Settings) -> str:
    if settings.url is not None:
        return settings.url.get_secret_value()
    from dispatcher.transport.embedded import find_server  # noqa: PLC0415 - a fleet's workers are told where it is

    url, _server = find_server(settings)
    return url
