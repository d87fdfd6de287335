"""Log lines with the fields of their events."""

import logging
import sys

import pytest

from dispatcher.execution.log_lines import WithFields, show_fields


def line(message: str, *args: object, name: str = "dispatcher.execution.execute", **fields: object) -> str:
    record = logging.makeLogRecord({"name": name, "levelname": "INFO", "msg": message, "args": args, **fields})
    return WithFields(logging.Formatter("[%(levelname)s] %(message)s")).format(record)


def test_the_fields_of_an_event_stand_behind_its_name() -> None:
    assert (
        line("job_failed", job_id="7", function="add", attempt=2) == "[INFO] job_failed job_id=7 function=add attempt=2"
    )


def test_a_reason_that_is_in_the_message_is_not_said_twice() -> None:
    assert line("sweep_failed: %s", "no route", reason="no route", queue="q") == "[INFO] sweep_failed: no route queue=q"


@pytest.mark.parametrize(("value", "shown"), [("two words", "'two words'"), ("a\nb", r"'a\nb'"), ("", "''")])
def test_a_field_stays_in_one_piece(value: str, shown: str) -> None:
    assert line("event", reason=value) == f"[INFO] event reason={shown}"


def test_lines_of_others_stay_as_they_are() -> None:
    assert line("Task received", name="celery.worker.strategy", data={"id": 1}) == "[INFO] Task received"


def test_a_traceback_comes_after_the_fields() -> None:
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        text = line("delivery_failed", queue="default", exc_info=sys.exc_info())
    first, *rest = text.splitlines()
    assert first == "[INFO] delivery_failed queue=default"
    assert rest[0] == "Traceback (most recent call last):"


def test_a_logger_is_changed_once() -> None:
    logger, handler = logging.Logger("test"), logging.StreamHandler()  # noqa: LOG001 - of this test alone
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.addHandler(logging.NullHandler())
    show_fields(logger)
    changed = handler.formatter
    show_fields(logger)
    assert isinstance(changed, WithFields)
    assert handler.formatter is changed
