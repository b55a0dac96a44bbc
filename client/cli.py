"""``lenet``: the platform from the shell.

Exit status: 0 it worked; 1 the platform refused, or the job or the dataset failed; 2 the command was not understood, or
a file that it names cannot be used; 3 the platform, or a service behind it, cannot be reached; 130 Ctrl-C.
"""

import importlib.util
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from client.commands import (
    access,
    datasets,
    ensembles,
    evaluations,
    explaining,
    jobs,
    keys,
    models,
    results,
    tenants,
    training,
)
from client.commands.session import AsJson, connect, show_list
from client.errors import InputError, LenetError, UnauthenticatedError, UnavailableError, UnreachableError

if TYPE_CHECKING:
    from client.sdk import Client

REFUSED, USAGE, UNREACHABLE = 1, 2, 3

# What `lenet up` needs beside the client: the marks of the extra that brings it.
EMBEDDED_MODULES = ("embedded", "flask", "celery", "torch")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(version("lenet-platform"))
        raise typer.Exit


class _Edge(TyperGroup):
    """The root command: an error of the client ends it with one clear line and its exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LenetError as error:
            _print_error(error)
            raise typer.Exit(_exit_status(error)) from error


app = typer.Typer(
    cls=_Edge,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 it worked; 1 refused, failed or cancelled; 2 usage; 3 the platform cannot be reached.",
)
app.add_typer(datasets.app, name="datasets")
app.command()(training.train)
app.add_typer(jobs.app, name="jobs")
app.command()(results.report)
app.command()(results.plots)
app.command()(results.predict)
app.command("feature-maps")(explaining.feature_maps)
app.command()(explaining.saliency)
app.add_typer(ensembles.app, name="ensembles")
app.command()(evaluations.evaluate)
app.add_typer(evaluations.app, name="evaluations")
app.add_typer(models.app, name="models")
app.command()(results.artifacts)
app.command()(results.download)
app.command()(access.quota)
app.add_typer(keys.app, name="keys")
app.add_typer(tenants.app, name="tenants")
app.command()(access.audit)
app.command()(results.reproduce)


@app.callback()
def root(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(envvar="LENET_URL", help="The platform; without it, http://127.0.0.1:8000.", show_default=False),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Train image classifiers of the LeNet-5 family on your own pictures.

    The API key is read from LENET_API_KEY; for a platform on this machine also from `api-key` in the folder that
    LENET_DATA_DIR names, or in `data` here.
    """

    def open_client() -> "Client":
        from client.sdk import Client

        return Client(url)

    context.obj = context.obj or open_client


@app.command()
def workers(context: typer.Context, as_json: AsJson = False) -> None:
    """List the worker pool: hosts, devices, slots, and what they train."""
    from client import render

    found = connect(context).workers()
    show_list(found, lambda: render.worker_table(found), as_json=as_json, none="No worker has reported.")


@app.command()
def queue(context: typer.Context, as_json: AsJson = False) -> None:
    """Show how much waits in each queue, and for how long."""
    from client import render

    found = connect(context).queue()
    show_list(found, lambda: render.queue_table(found), as_json=as_json, none="There are no queues.")


@app.command()
def up(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="The API's port; without it, LENET_API_PORT or 8000.", show_default=False),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="The folder of all data; without it, LENET_DATA_DIR or data.", show_default=False),
    ] = None,
) -> None:
    """Start the whole platform on this machine: API, queue, workers. Ctrl-C stops it; the data stays."""
    missing = [name for name in EMBEDDED_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"The platform is not installed here ({', '.join(missing)} missing), only its client. "
            "Install it: pip install 'lenet-platform[embedded]'"
        )
    options = {"--port": port, "--data-dir": data_dir}
    given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    os.execv(sys.executable, [sys.executable, "-m", "embedded", "up", *given])  # noqa: S606 - our own program takes this process's place: no shell wanted


def _exit_status(error: LenetError) -> int:
    if isinstance(error, UnreachableError | UnavailableError):
        return UNREACHABLE
    return USAGE if isinstance(error, InputError) else REFUSED


def _print_error(error: LenetError) -> None:
    from client.measures import plain

    known = ", ".join(filter(None, [error.code, error.request_id and f"request {error.request_id}"]))
    typer.echo(plain(f"lenet: {error.detail} ({known})"), err=True)
    for fault in error.faults:
        typer.echo(plain(f"  {fault.pointer}: {fault.detail}"), err=True)
    if isinstance(error, UnauthenticatedError):
        typer.echo("Set LENET_API_KEY to the key that `lenet up` printed, or LENET_DATA_DIR to its folder.", err=True)
    if isinstance(error, UnreachableError) and not error.sent:
        typer.echo("Is it running? `lenet up` starts one here; LENET_URL names one elsewhere.", err=True)
