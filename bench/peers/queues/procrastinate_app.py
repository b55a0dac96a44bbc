"""Procrastinate on PostgreSQL, with the periodic task that its documentation gives for stalled jobs."""

import os

import procrastinate

from bench.steps import do_steps

CONNINFO = os.environ["BENCH_DATABASE_URL"]
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=CONNINFO))
work = app.task(name="work")(do_steps)


async def retry_stalled_jobs(_: procrastinate.JobContext, timestamp: int) -> None:  # noqa: ARG001 - its signature
    """Queue again what workers hold that have given no sign for 30 s."""
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


# Every ten minutes, as the documentation has it.
app.periodic(cron="*/10 * * * *")(
    app.task(queueing_lock="retry_stalled_jobs", pass_context=True)(retry_stalled_jobs),
)
