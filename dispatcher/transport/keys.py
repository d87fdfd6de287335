"""The names of keys and channels on the server. The Lua scripts build the same names from the same prefix.

These are of the scripts alone:

    {namespace}:idempotency:<function>:<hash>   hash: the digest, job and deadline that an idempotency key stands for
    {namespace}:started                         hash: by queue, the highest sequence number that a worker has started
    {namespace}:reached                         hash: by queue, when its last started job was published
    {namespace}:sequence                        hash: by queue, the last sequence number given out
    {namespace}:sweeper                         string: the node that sweeps; gone when it has been silent
    {namespace}:untold                          list: jobs that ended where no worker saw it, for Celery's events

Beside them stand Celery's own: a list for each queue and its bindings, without a prefix.
"""

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
        """A string with the function's own time to live: a result, as JSON text, that may be used again."""
        return f"{self.prefix}cache:{function}:{digest}"

    @property
    def due(self) -> str:
        """A sorted set: every unsettled job by its next-look time, in milliseconds."""
        return f"{self.prefix}due"

    @property
    def dead(self) -> str:
        """A sorted set: dead letters by the time they were given up, in milliseconds."""
        return f"{self.prefix}dead"

    @property
    def running(self) -> str:
        """A set: the ids of the jobs that a worker holds."""
        return f"{self.prefix}running"

    @property
    def nodes(self) -> str:
        """A sorted set: worker nodes by their last report, in milliseconds."""
        return f"{self.prefix}nodes"

    @property
    def counts(self) -> str:
        """A hash: counters since the namespace was first used."""
        return f"{self.prefix}counts"
