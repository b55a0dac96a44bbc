"""``lenet train``: queue a training and watch it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.session import AsJson, DatasetId, connect, show, watch

if TYPE_CHECKING:
    from client.sdk import Client


def train(
    context: typer.Context,
    *,
    dataset_id: DatasetId,
    config: Annotated[
        Path | None, typer.Option("--config", help="A file of options, JSON or TOML.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="One option over the file's, by its dotted name; as often as wanted. The value is JSON or a word.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.", show_default=False)] = None,
    priority: Annotated[
        int | None, typer.Option(min=0, max=9, help="9 runs first; without it, 5.", show_default=False)
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="A word to find it by; as often as wanted.", show_default=False)
    ] = None,
    from_job: Annotated[
        str | None, typer.Option(help="A job whose config is the base (its id).", show_default=False)
    ] = None,
    warm_start: Annotated[bool, typer.Option("--warm-start", help="Start from the weights of --from-job.")] = False,
    watch_it: Annotated[bool, typer.Option("--watch/--no-watch", help="Show it until it ends.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the whole config, the layers and the time; queue nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on a dataset.

    Every option has a default, so that no option at all trains a good model; `--dry-run` shows them all. With `--json`
    the job is printed at its end, or at once with `--no-watch`. Exit status 1 where it fails or is cancelled; Ctrl-C
    ends the watching alone.

    Example: lenet train ds_… --set architecture=lenet-wide --set optimizer.learning_rate=0.01 --set epochs=5
    """
    from client import render
    from client.configs import read_config

    options = read_config(config, settings or ())
    client = connect(context)
    if dry_run:
        plan = client.jobs.validate(dataset_id, options, from_job=from_job)
        show(plan, lambda: render.plan_view(plan), as_json=as_json)
        return
    job = client.jobs.submit(
        dataset_id,
        options,
        name=name,
        priority=priority,
        tags=tag or (),
        from_job=from_job,
        warm_start=warm_start,
    )
    _follow(client, job, watch_it=watch_it, as_json=as_json)


def _follow(client: "Client", job: Any, *, watch_it: bool, as_json: bool) -> None:
    from client import render

    if as_json:
        job = client.jobs.wait(job.id) if watch_it else job
    elif watch_it:
        typer.echo(f"{job.id} is queued.")
        job = watch(client, job.id)
    show(job, lambda: render.job_view(job, with_config=False), as_json=as_json)
