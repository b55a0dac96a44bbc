"""Celery on Redis: acknowledged when done, requeued when a child is lost, one message at a time.

``BENCH_VISIBILITY_SECONDS`` is the visibility timeout, where it is not to be the default of an hour.
"""

import os

from celery import Celery

from bench.steps import do_steps

app = Celery("peer", broker=os.environ["BENCH_REDIS_URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)
if seconds := os.environ.get("BENCH_VISIBILITY_SECONDS"):
    app.conf.broker_transport_options = {"visibility_timeout": int(seconds)}

work = app.task(name="work")(do_steps)
