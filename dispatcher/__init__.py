"""Durable function calling for Python, on Celery. The names here are the public ones, and all of `dispatcher.errors`.

They are loaded when first used, so that a program which only registers or selects functions never imports Celery.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dispatcher.client.dispatcher import Dispatcher
    from dispatcher.client.handle import Handle
    from dispatcher.client.sync import SyncDispatcher, SyncHandle
    from dispatcher.errors import DispatcherError, GiveUp, RetryLater
    from dispatcher.execution.context import CurrentJob, current_job, current_job_or_none
    from dispatcher.model.call import Call
    from dispatcher.model.job import JobState, JobStatus
    from dispatcher.model.limits import Limits
    from dispatcher.model.outcome import Cancelled, ErrorInfo, ErrorKind, Expired, Failed, Outcome, Succeeded
    from dispatcher.model.retry import RetryPolicy
    from dispatcher.registry.function import Function
    from dispatcher.registry.registry import Registry
    from dispatcher.selection.cascade import Cascade
    from dispatcher.selection.feedback import Feedback, Verdict
    from dispatcher.selection.keyword import KeywordRule, KeywordSelector
    from dispatcher.selection.selection import Candidate, Decision, Selection
    from dispatcher.selection.selector import ConversationState, LearningSelector, Selector
    from dispatcher.settings import Settings
    from dispatcher.worker import create_worker_app

#: Where each public name lives.
_HOMES = {
    "Call": "dispatcher.model.call",
    "Cancelled": "dispatcher.model.outcome",
    "Candidate": "dispatcher.selection.selection",
    "Cascade": "dispatcher.selection.cascade",
    "ConversationState": "dispatcher.selection.selector",
    "CurrentJob": "dispatcher.execution.context",
    "Decision": "dispatcher.selection.selection",
    "Dispatcher": "dispatcher.client.dispatcher",
    "DispatcherError": "dispatcher.errors",
    "ErrorInfo": "dispatcher.model.outcome",
    "ErrorKind": "dispatcher.model.outcome",
    "Expired": "dispatcher.model.outcome",
    "Failed": "dispatcher.model.outcome",
    "Feedback": "dispatcher.selection.feedback",
    "Function": "dispatcher.registry.function",
    "GiveUp": "dispatcher.errors",
    "Handle": "dispatcher.client.handle",
    "JobState": "dispatcher.model.job",
    "JobStatus": "dispatcher.model.job",
    "KeywordRule": "dispatcher.selection.keyword",
    "KeywordSelector": "dispatcher.selection.keyword",
    "LearningSelector": "dispatcher.selection.selector",
    "Limits": "dispatcher.model.limits",
    "Outcome": "dispatcher.model.outcome",
    "Registry": "dispatcher.registry.registry",
    "RetryLater": "dispatcher.errors",
    "RetryPolicy": "dispatcher.model.retry",
    "Selection": "dispatcher.selection.selection",
    "Selector": "dispatcher.selection.selector",
    "Settings": "dispatcher.settings",
    "Succeeded": "dispatcher.model.outcome",
    "SyncDispatcher": "dispatcher.client.sync",
    "SyncHandle": "dispatcher.client.sync",
    "Verdict": "dispatcher.selection.feedback",
    "create_worker_app": "dispatcher.worker",
    "current_job": "dispatcher.execution.context",
    "current_job_or_none": "dispatcher.execution.context",
}

__all__ = [
    "Call",
    "Cancelled",
    "Candidate",
    "Cascade",
    "ConversationState",
    "CurrentJob",
    "Decision",
    "Dispatcher",
    "DispatcherError",
    "ErrorInfo",
    "ErrorKind",
    "Expired",
    "Failed",
    "Feedback",
    "Function",
    "GiveUp",
    "Handle",
    "JobState",
    "JobStatus",
    "KeywordRule",
    "KeywordSelector",
    "LearningSelector",
    "Limits",
    "Outcome",
    "Registry",
    "RetryLater",
    "RetryPolicy",
    "Selection",
    "Selector",
    "Settings",
    "Succeeded",
    "SyncDispatcher",
    "SyncHandle",
    "Verdict",
    "create_worker_app",
    "current_job",
    "current_job_or_none",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
