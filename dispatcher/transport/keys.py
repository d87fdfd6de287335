"""The names of keys and channels on the server. The Lua scripts build the same names from the same prefix.

These are of the scripts alone:

    {namespace}:idempotency:<function>:<hash>   hash: the digest, job and deadline that an idempotency key stands for
    {namespace}:started                         hash: by queue, the highest sequence number that a worker has started,
                                                and when the last job that started in its order was published
    {namespace}:sequence                        hash: by queue, the last sequence number given out
    {namespace}:sweeper                         string: the node that sweeps; gone when it has been silent
    {namespace}:untold                          list: jobs that ended where no worker saw it, for Celery's events
    {namespace}:epochs                          hash: by topic, the number of the last invalidation; `last`, of them all
    {namespace}:flight:<function>:<digest>      string: the job that equal calls share, until its deadline
    {namespace}:nothing                         never there: scripts name it to find out whether the server is full
    {namespace}:feedback-source:<hash>          list: when a source gave its last feedback; gone a minute after it

Beside them stand Celery's own: a list for each queue and its bindings, without a prefix.
"""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Names under one namespace.

    All but the results share the hash tag `{namespace}`, so that a Redis Cluster holds them in one slot.
    """

    namespace: str
    #: Before Celery's own result keys; see `Settings.result_prefix`.
    result_prefix: str = ""

    @property
    def prefix(self) -> str:
        return f"{{{self.namespace}}}:"

    @property
    def queues(self) -> str:
        """Before everything that Celery keeps under a namespace of its own: a queue may well be called `dead`."""
        return f"{self.prefix}queue:"

    def job(self, job_id: str) -> str:
        """A hash: one job, its envelope included. Lives until its deadline and the time outcomes are kept."""
        return f"{self.prefix}job:{job_id}"

    def result(self, job_id: str) -> str:
        """A string: the outcome in Celery's own result format, under Celery's own name."""
        return f"{self.result_prefix}celery-task-meta-{job_id}"

    def announcements(self, producer: str) -> str:
        """A channel: outcomes of the jobs that this producer dispatched."""
        return f"{self.prefix}announce:{producer}"

    def waiting(self, queue: str) -> str:
        """A sorted set: the queue's waiting jobs by sequence number."""
        return f"{self.prefix}waiting:{queue}"

    def node(self, node: str) -> str:
        """A hash with a short life: one worker node, as it last reported."""
        return f"{self.prefix}node:{node}"

    def cached(self, function: str, digest: str) -> str:
        """A string with the function's own time to live: how a call ended, for equal ones; see `transport.cache`."""
        return f"{self.prefix}cache:{function}:{digest}"

    def map_journal(self, function: str, key: str) -> str:
        """A hash with a time to live: where the jobs of a map that may be resumed began, and how many rows each has."""
        return f"{self.prefix}map:{function}:{hashlib.sha256(key.encode()).hexdigest()}"

    def model(self, version: str) -> str:
        """A string: one trained model, as `dump_model` wrote it. It stays until `kept_models` newer ones stand."""
        return f"{self.prefix}model:{version}"

    def model_draft(self, name: str) -> str:
        """A string with a short life: a model on its way in, which nobody reads yet."""
        return f"{self.prefix}model-draft:{name}"

    def selection(self, digest: str) -> str:
        """A string with a time to live: a selection that may be used again."""
        return f"{self.prefix}selection:{digest}"

    @property
    def models(self) -> str:
        """A hash: what is said of each model that is kept, by version.

        It, the models and the champion stay for ever: they are bounded by `kept_models` and `max_model_bytes`, and what
        was learnt must outlive a quiet season.
        """
        return f"{self.prefix}models"

    @property
    def champion(self) -> str:
        """A string: the version of the model that producers use."""
        return f"{self.prefix}champion"

    @property
    def feedback(self) -> str:
        """A stream: what was said of selections, `max_feedback` entries of it; gone when nothing was said for long."""
        return f"{self.prefix}feedback"

    @property
    def trainer(self) -> str:
        """A string with a short life: there while somebody trains a model."""
        return f"{self.prefix}trainer"

    @property
    def due(self) -> str:
        """A sorted set: every unsettled job by its next-look time, in milliseconds."""
        return f"{self.prefix}due"

    @property
    def dead(self) -> str:
        """A sorted set: dead letters by the time they were given up, in milliseconds."""
        return f"{self.prefix}dead"

    @property
    def scheduled(self) -> str:
        """A set: the ids of the jobs that wait for their time. An unsettled job that does not wait is running."""
        return f"{self.prefix}scheduled"

    @property
    def nodes(self) -> str:
        """A sorted set: worker nodes by their last report, in milliseconds."""
        return f"{self.prefix}nodes"

    @property
    def counts(self) -> str:
        """A hash: counters since the namespace was first used."""
        return f"{self.prefix}counts"
