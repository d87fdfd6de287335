"""What Celery warns of that does not concern our workers is not in their log."""

import warnings

from celery.exceptions import CPendingDeprecationWarning
from celery.worker.consumer import consumer

from dispatcher.execution.worker import make_worker_app
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings


def test_a_lost_connection_is_no_occasion_for_advice_on_late_acknowledgement() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        make_worker_app(Registry(), Settings(), "redis://127.0.0.1:1/0", name="quiet")
        for said in (consumer.CANCEL_TASKS_BY_DEFAULT, "something else"):
            warnings.warn(said, CPendingDeprecationWarning, stacklevel=1)
    assert [str(warning.message) for warning in heard] == ["something else"]
