"""How a function wants to be run. Everything here can be given to `@registry.function(...)`."""

from dataclasses import dataclass, field
from datetime import timedelta

from dispatcher.model.job import Delivery, Priority
from dispatcher.model.retry import RetryPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionOptions:
    """Options of one function; each has a default that suits a short, harmless, repeatable function."""

    #: The Celery queue, before the priority class is added. Its profile in `workers/` chooses the pool.
    queue: str = "default"
    priority: Priority = "normal"
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    #: Longest run of one attempt. None: `default_timeout_seconds`.
    timeout: timedelta | None = None
    #: From acceptance to expiry. None: `default_deadline_seconds`.
    deadline: timedelta | None = None
    delivery: Delivery = "at_least_once"
    #: Of an `async def`: how many calls of one job run at once. None: `calls_at_once`.
    at_once: int | None = None
    #: How long a result may be reused for equal arguments. None: never.
    cache: timedelta | None = None
    #: How long a failure of the function's own may be, where results may. None: never.
    cache_failures: timedelta | None = None
    #: Arguments whose values are never shown: not in Flower, logs, errors or dead letters.
    sensitive: frozenset[str] = frozenset()
    #: Whether the result is never shown either.
    sensitive_result: bool = False
    #: What people say when they want this function, in any language.
    examples: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()

    @property
    def queue_name(self) -> str:
        """The queue that wake-ups travel in: `default`, `default.high`, `default.bulk`."""
        return self.queue_of(self.priority)

    def queue_of(self, priority: Priority) -> str:
        """The queue of another priority of this function."""
        return self.queue if priority == "normal" else f"{self.queue}.{priority}"
