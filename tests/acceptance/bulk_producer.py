"""A producer in a hurry: accepts and publishes many jobs at a time, by the ledger and the broker themselves.

`python -m tests.acceptance.bulk_producer NAME JOBS`, with the settings in the environment.
"""

import sys
from datetime import timedelta

from dispatcher import Settings
from dispatcher.model.job import Job
from dispatcher.transport.app import create_app
from dispatcher.transport.broker import Broker
from dispatcher.transport.commands import Commands
from dispatcher.transport.connection import connect
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.replies import Accepted, WakeUp

CHUNK = 500


def make_job(name: str) -> Job:
    return Job(
        id=name,
        function="idle",
        version="1",
        calls=('{"number":1}',),
        queue="idle",
        deadline=timedelta(hours=1),
    )


def produce(settings: Settings, name: str, count: int) -> None:
    url = settings.url.get_secret_value()
    commands = Commands(settings)
    broker = Broker(create_app(settings, url), name)
    with connect(url) as client:
        ledger = Ledger(client)
        for start in range(0, count, CHUNK):
            jobs = [make_job(f"{name}-{number}") for number in range(start, min(start + CHUNK, count))]
            answers = ledger.run_many_settled([commands.accept(job) for job in jobs])
            assert all(isinstance(answer, Accepted) and answer.sequence for answer in answers)
            broker.publish([WakeUp(job_id=job.id, function=job.function, queue=job.queue, shown="{}") for job in jobs])
    broker.disconnect()


if __name__ == "__main__":
    produce(Settings.load(), sys.argv[1], int(sys.argv[2]))
