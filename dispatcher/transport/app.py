"""The Celery app, the same for producers and workers: broker, result store, queues and routes."""

from collections.abc import Iterable

from billiard import pool
from celery import Celery
from kombu import Exchange, Queue

from dispatcher.registry.function import Function
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings
from dispatcher.transport.address import is_server_url, kombu_url
from dispatcher.transport.guarded import use_guarded
from dispatcher.transport.keys import Keys
from dispatcher.transport.lanes import Lanes

#: Where a plain Celery client sends what it has no route for.
CELERY_DEFAULT_QUEUE = "celery"

#: Of the deployment whose queues have no prefix.
DEFAULT_NAMESPACE = Settings.model_fields["namespace"].default

#: Seconds; kombu waits for ever by default, and a wait for ever is a hang.
SOCKET_TIMEOUT_SECONDS = 10
CONNECT_TIMEOUT_SECONDS = 3

#: Times, a tenth of a second apart, that an ending pool process looks whether its node has read its results.
RESULTS_READ_CHECKS = 10


def create_app(settings: Settings, url: str, registry: Registry | None = None, *, name: str = "dispatcher") -> Celery:
    """Make a Celery app on this server.

    Args:
        settings: everything but the address of the server.
        url: the server that holds the ledger and the results; the broker too, unless `settings.broker_url` names one.
        registry: its functions' queues are declared and routed to.
        name: the Celery app's own name.
    """
    app = Celery(name, set_as_current=False)
    functions = list(registry) if registry is not None else []
    app.conf.update(
        broker_url=_broker_url(settings, url),
        result_backend=kombu_url(url),
        result_backend_transport_options={"global_keyprefix": settings.result_prefix} if settings.result_prefix else {},
        result_backend_thread_safe=True,
        result_expires=settings.result_ttl_seconds,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        enable_utc=True,
        task_default_queue="default",
        task_queues=list(_queues(functions)),
        task_routes={function.name: {"queue": function.options.queue_name} for function in functions},
        # The ledger carries every guarantee, so the message is only a wake-up: acknowledged early, never restored.
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        task_track_started=True,
        worker_send_task_events=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # It can end the main process (Celery 5.7), and the lease makes it needless.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_transport_options={
            "ack_emulation": False,
            "socket_timeout": SOCKET_TIMEOUT_SECONDS,
            "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "socket_keepalive": True,
            "queue_order_strategy": f"{Lanes.__module__}:{Lanes.__name__}",
            # Queues are shared by name: a worker must not take another deployment's wake-ups. The first namespace of a
            # server goes without, so that any Celery client reaches it with nothing but the address.
            "global_keyprefix": _queue_prefix(settings),
        },
        redis_socket_timeout=SOCKET_TIMEOUT_SECONDS,
        redis_socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        redis_socket_keepalive=True,
    )
    use_guarded(app, settings)
    return app


def list_prefix(settings: Settings) -> str | None:
    """What stands before a queue's name in the name of its list; None where the broker is not the ledger's server."""
    return None if settings.broker_url is not None else _queue_prefix(settings)


def _queue_prefix(settings: Settings) -> str:
    return "" if settings.namespace == DEFAULT_NAMESPACE else Keys(settings.namespace).queues


def _broker_url(settings: Settings, url: str) -> str:
    if settings.broker_url is None:
        return kombu_url(url)
    broker = settings.broker_url.get_secret_value()
    # Only a Redis or Valkey has spellings that kombu does not know.
    return kombu_url(broker) if is_server_url(broker) else broker


def end_promptly() -> None:
    """Let this process of a prefork pool end when it is told to.

    It would wait until the node has read all its results, for half a minute; a node that shuts down reads none any
    more, and would be killed by whoever waits for it. Nothing is lost: outcomes are in the ledger, or in Celery's
    result store. Can go when billiard's `Worker._ensure_messages_consumed` sees that its node ends (4.3 does not).
    """
    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = RESULTS_READ_CHECKS


def hide_results(app: Celery) -> None:
    """Take the result store away from an app: Flower's API would show results whole, also those to be hidden."""
    app.conf.result_backend = "disabled"


def queue_names(functions: Iterable[Function[..., object]]) -> list[str]:
    """Every queue a worker of these functions consumes: each in its three priorities, and Celery's default queue."""
    bases = dict.fromkeys(["default", *(function.options.queue for function in functions)])
    names = [name for base in bases for name in (f"{base}.high", base, f"{base}.bulk")]
    return [*names, CELERY_DEFAULT_QUEUE]


def _queues(functions: Iterable[Function[..., object]]) -> Iterable[Queue]:
    for name in queue_names(functions):
        yield Queue(name, Exchange(name, type="direct"), routing_key=name)
