"""``lenet report``, ``plots``, ``predict``, ``download``, ``reproduce``: what a job that succeeded gives."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.commands.session import AsJson, Images, JobId, TopK, connect, show, show_list

if TYPE_CHECKING:
    from client.sdk import Client


def report(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show the test metrics of a job: each class, the confusion matrix, the worst mistakes."""
    from client import render

    found = connect(context).jobs.report(job_id)
    show(found, lambda: render.report_view(found), as_json=as_json)


def predict(
    context: typer.Context,
    job_id: JobId,
    images: Images,
    top_k: TopK = None,
    as_json: AsJson = False,
) -> None:
    """Say what the model of a job takes images for."""
    from client import render

    found = connect(context).jobs.predict(job_id, images, top_k=top_k)
    show_list(found, lambda: render.prediction_table(found), as_json=as_json, none="No image was given.")


def download(
    context: typer.Context,
    job_id: JobId,
    name: Annotated[
        str | None, typer.Argument(help="One file, as model.pth; without it, all of them.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The file, or the folder; without it, NAME here, or a folder JOB here for all.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Download the model of a job, or everything that it left; the SHA-256 of each file is checked."""
    client = connect(context)
    if name:
        typer.echo(client.jobs.download(job_id, name, output or Path(name)))
    else:
        _download_all(client, job_id, output or Path(job_id))


def artifacts(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """List the files that a job left, with their sizes and SHA-256."""
    from client import render

    found = connect(context).jobs.artifacts(job_id)
    show_list(found, lambda: render.artifact_table(found), as_json=as_json, none="The job left no files.")


def plots(
    context: typer.Context,
    job_id: JobId,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME…]",
            help="history, confusion_matrix, predictions, mistakes, filters or feature_maps; without any, all of them.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder; without it, a folder JOB here.", show_default=False),
    ] = None,
) -> None:
    """Save plots of a job as PNG files. A job that still runs has its history."""
    from client.files import make_folder, write_file
    from client.types import PLOTS

    jobs, folder = connect(context).jobs, output or Path(job_id)
    wanted = names or (PLOTS if jobs.get(job_id).status == "succeeded" else PLOTS[:1])
    make_folder(folder)
    for name in wanted:
        typer.echo(write_file(folder / f"{Path(name).name}.png", jobs.plot(job_id, name)))


def reproduce(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Train a job again and say whether the weights are equal to the bit.

    The new job has the same dataset and the same whole config. Exit status 1 where the weights differ.
    """
    from client import render
    from client.watch import Board

    jobs = connect(context).jobs
    if as_json:
        found = jobs.reproduce(job_id)
    else:
        with Board(render.open_console()) as board:
            found = jobs.reproduce(job_id, on_update=board.update)
    show(found, lambda: render.reproduction_view(found), as_json=as_json)
    if not found.equal_weights:
        raise typer.Exit(1)


def _download_all(client: "Client", job_id: str, folder: Path) -> None:
    from client.files import make_folder

    found = client.jobs.artifacts(job_id)
    make_folder(folder)
    for artifact in found:
        typer.echo(client.jobs.download(job_id, artifact.name, folder))
