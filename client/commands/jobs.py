"""``lenet jobs``: see trainings and steer them."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from client.commands.session import AsJson, JobId, Limit, connect, show, show_list, watch

if TYPE_CHECKING:
    from client.types import Job

app = typer.Typer(help="See trainings and steer them.", no_args_is_help=True)


@app.command("list")
def list_jobs(
    context: typer.Context,
    *,
    status: Annotated[
        str | None,
        typer.Option(help="Only those: queued, running, paused, succeeded, failed or cancelled.", show_default=False),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Only those on this dataset (its id).", show_default=False)
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Only those with this tag.", show_default=False)] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    from client import render

    jobs = connect(context).jobs.iterate(status=status, dataset_id=dataset, tag=tag)
    found = list(islice(jobs, limit))
    show_list(found, lambda: render.job_table(found), as_json=as_json, none="There are no such jobs.")


@app.command("show")
def show_job(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job: where it is, what it has measured, and its whole config."""
    _show(connect(context).jobs.get(job_id), as_json=as_json)


@app.command("watch")
def watch_job(context: typer.Context, job_id: JobId) -> None:
    """Show a job as it trains, until it ends.

    On a terminal a bar moves; elsewhere each epoch is a line. Exit status 1 where the job fails or is cancelled; Ctrl-C
    ends the watching alone.
    """
    watch(connect(context), job_id)


@app.command()
def epochs(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """List the epochs of a job, oldest first."""
    from client import render

    found = connect(context).jobs.epochs(job_id)
    show_list(found, lambda: render.epoch_table(found), as_json=as_json, none="No epoch has ended yet.")


@app.command()
def logs(
    context: typer.Context,
    job_id: JobId,
    after: Annotated[
        int, typer.Option(min=0, help="Only the lines after the one with this id.", show_default=False)
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Show the worker's log lines about a job."""
    from client import render

    found = connect(context).jobs.logs(job_id, after=after)
    show_list(found, lambda: render.log_view(found), as_json=as_json, none="There are no log lines.")


@app.command()
def cancel(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a job, also in the middle of an epoch; its model is not kept."""
    _show(connect(context).jobs.cancel(job_id), as_json=as_json)


@app.command()
def pause(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Pause a running job; `resume` goes on from its checkpoint."""
    _show(connect(context).jobs.pause(job_id), as_json=as_json)


@app.command()
def resume(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Queue a paused job again."""
    _show(connect(context).jobs.resume(job_id), as_json=as_json)


@app.command()
def stop(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """End a running job after its epoch and keep the model."""
    _show(connect(context).jobs.stop(job_id), as_json=as_json)


@app.command()
def retry(
    context: typer.Context,
    job_id: JobId,
    from_checkpoint: Annotated[
        bool, typer.Option("--from-checkpoint", help="Go on from the last checkpoint instead of anew.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Queue a failed or cancelled job again."""
    _show(connect(context).jobs.retry(job_id, from_checkpoint=from_checkpoint), as_json=as_json)


@app.command()
def delete(context: typer.Context, job_id: JobId) -> None:
    """Delete a job that has ended, with its model and everything else that it left."""
    connect(context).jobs.delete(job_id)
    typer.echo(f"{job_id} is deleted.")


def _show(job: "Job", *, as_json: bool) -> None:
    from client import render

    show(job, lambda: render.job_view(job), as_json=as_json)
