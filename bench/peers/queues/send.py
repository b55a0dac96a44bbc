"""``python -m bench.peers.queues.send QUEUE``: queues one job, in a process that has that queue's packages."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def send_celery() -> None:
    from bench.peers.queues.celery_app import work

    work.delay()


def send_dramatiq() -> None:
    from bench.peers.queues.dramatiq_app import work

    work.send()


def send_rq() -> None:
    """Allow three more tries: without any, RQ gives an abandoned job up."""
    from redis import Redis
    from rq import Queue, Retry

    from bench.steps import do_steps

    Queue(connection=Redis.from_url(os.environ["BENCH_REDIS_URL"])).enqueue(do_steps, retry=Retry(max=3))


def send_procrastinate() -> None:
    with _procrastinate() as app:
        app.configure_task("work").defer()


def prepare_procrastinate() -> None:
    """Make its tables."""
    with _procrastinate() as app:
        app.schema_manager.apply_schema()


@contextmanager
def _procrastinate() -> Iterator[Any]:
    from procrastinate import SyncPsycopgConnector

    from bench.peers.queues.procrastinate_app import CONNINFO, app

    with app.replace_connector(SyncPsycopgConnector(conninfo=CONNINFO)) as here, here.open():
        yield here


if __name__ == "__main__":
    {
        "celery": send_celery,
        "dramatiq": send_dramatiq,
        "rq": send_rq,
        "procrastinate": send_procrastinate,
        "procrastinate-tables": prepare_procrastinate,
    }[sys.argv[1]]()
