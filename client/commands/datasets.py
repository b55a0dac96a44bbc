"""``lenet datasets``: upload pictures and see what became of them."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.commands.session import AsJson, DatasetId, Limit, connect, show, show_list

if TYPE_CHECKING:
    from client.sdk import Client
    from client.types import Dataset

app = typer.Typer(help="Upload pictures and see what became of them.", no_args_is_help=True)


@app.command()
def upload(
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A .zip, .tar or .tar.gz, or a folder.", show_default=False)
    ],
    name: Annotated[
        str | None, typer.Option(help="The dataset's name; without it, the file's.", show_default=False)
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it can be trained on.")] = True,
    as_json: AsJson = False,
) -> None:
    """Upload an archive or a folder of pictures.

    It has `train/<class>/…` and, where there are any, `test/<class>/…` and `val/<class>/…`; or folders of classes
    alone, which are split 80 to 20. The same bytes twice make one dataset. Exit status 1 where it is rejected.
    """
    from client import render

    client = connect(context)
    dataset = _send(client, path, name, quiet=as_json)
    if wait:
        dataset = client.datasets.wait(dataset.id)
    show(dataset, lambda: render.dataset_view(dataset), as_json=as_json)


@app.command("list")
def list_datasets(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List datasets, newest first."""
    from client import render

    found = list(islice(connect(context).datasets.iterate(), limit))
    none = "There are no datasets yet: lenet datasets upload PATH"
    show_list(found, lambda: render.dataset_table(found), as_json=as_json, none=none)


@app.command("show")
def show_dataset(context: typer.Context, dataset_id: DatasetId, as_json: AsJson = False) -> None:
    """Show a dataset: its classes, how many images each has, warnings, and why it was rejected."""
    from client import render

    dataset = connect(context).datasets.get(dataset_id)
    show(dataset, lambda: render.dataset_view(dataset), as_json=as_json)


@app.command()
def entries(
    context: typer.Context,
    dataset_id: DatasetId,
    outcome: Annotated[
        str | None, typer.Option(help="Only those: accepted, rejected or ignored.", show_default=False)
    ] = None,
    limit: Limit = 1000,
    as_json: AsJson = False,
) -> None:
    """List what became of each entry of the archive, and why."""
    from client import render

    found = list(islice(connect(context).datasets.entries(dataset_id, outcome), limit))
    show_list(found, lambda: render.entry_table(found), as_json=as_json, none="There are no such entries.")


@app.command()
def preview(
    context: typer.Context,
    dataset_id: DatasetId,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The PNG file; without it, DATASET.png here.", show_default=False),
    ] = None,
) -> None:
    """Save a picture with some images of each class."""
    from client.files import write_file

    picture = connect(context).datasets.preview(dataset_id)
    typer.echo(write_file(output or Path(f"{dataset_id}.png"), picture))


@app.command()
def delete(context: typer.Context, dataset_id: DatasetId) -> None:
    """Delete a dataset that no unfinished job uses."""
    connect(context).datasets.delete(dataset_id)
    typer.echo(f"{dataset_id} is deleted.")


def _send(client: "Client", path: Path, name: str | None, *, quiet: bool) -> "Dataset":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("uploading"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task("upload", total=None)
        return client.datasets.upload(
            path, name, on_progress=lambda sent, total: progress.update(task, completed=sent, total=total)
        )
