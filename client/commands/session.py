"""What every command does: connect, and print an answer as a table or as JSON."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import RenderableType

    from client.sdk import Client
    from client.types import Job

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print what the platform answered as JSON, for machines.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id (job_…).", show_default=False)]
DatasetId = Annotated[str, typer.Argument(metavar="DATASET", help="The dataset's id (ds_…).", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many to show at most, newest first.")]
Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE…", help="Image files, or ZIPs of them.", show_default=False)
]
TopK = Annotated[
    int | None, typer.Option("--top-k", min=1, help="How many classes to show of each image.", show_default=False)
]
ModelOutput = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The file or folder; without it, model.onnx here.", show_default=False),
]

INTERRUPTED = 130


def connect(context: typer.Context) -> "Client":
    """Return the client that the root command was told to open."""
    client: Client = context.find_root().obj()
    context.call_on_close(client.close)
    return client


def show(answer: "BaseModel", view: "Callable[[], RenderableType]", *, as_json: bool) -> None:
    """Print one answer."""
    from client import render

    if as_json:
        typer.echo(render.to_json(answer))
    else:
        render.open_console().print(view())


def show_list(
    answers: "Sequence[BaseModel]", view: "Callable[[], RenderableType]", *, as_json: bool, none: str
) -> None:
    """Print a list of answers; ``none`` is the sentence for an empty one."""
    from client import render

    if as_json:
        typer.echo(render.to_json(answers))
    elif answers:
        render.open_console().print(view())
    else:
        typer.echo(none)


def watch(client: "Client", job_id: str) -> "Job":
    """Show a job until it ends and return it; raise `JobEndedError` where it ends without a model.

    Ctrl-C ends the watching alone, with exit status 130: the job goes on.
    """
    from client import render
    from client.watch import Board

    try:
        with Board(render.open_console()) as board:
            return client.jobs.wait(job_id, on_update=board.update)
    except KeyboardInterrupt:
        typer.echo(f"The job goes on. See it again: lenet jobs watch {job_id}", err=True)
        raise typer.Exit(INTERRUPTED) from None
