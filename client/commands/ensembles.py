"""``lenet ensembles``: let models vote."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.commands.session import AsJson, DatasetId, Images, Limit, ModelOutput, TopK, connect, show, show_list

if TYPE_CHECKING:
    from client.types import Ensemble

app = typer.Typer(help="Let models vote.", no_args_is_help=True)

EnsembleId = Annotated[str, typer.Argument(metavar="ENSEMBLE", help="The ensemble's id (ens_…).", show_default=False)]
Hard = Annotated[bool, typer.Option("--hard", help="Count votes; without it, probabilities.")]
Weights = Annotated[
    list[float] | None,
    typer.Option(
        "--weight", min=0, help="What a member counts, once for each in their order; without it, all the same."
    ),
]
Name = Annotated[str | None, typer.Option(help="A name for people.", show_default=False)]


@app.command()
def create(
    context: typer.Context,
    job_ids: Annotated[list[str], typer.Argument(metavar="JOB…", help="2 to 25 jobs.", show_default=False)],
    *,
    hard: Hard = False,
    weight: Weights = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Let jobs that have succeeded vote."""
    made = connect(context).ensembles.create(job_ids, voting=_voting(hard=hard), weights=weight, name=name)
    _show(made, as_json=as_json)


@app.command()
def train(
    context: typer.Context,
    dataset_id: DatasetId,
    configs: Annotated[
        list[Path],
        typer.Option("--config", help="A file of options, JSON or TOML, once for each member.", show_default=False),
    ],
    *,
    hard: Hard = False,
    weight: Weights = None,
    name: Name = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until every member is trained.")] = True,
    as_json: AsJson = False,
) -> None:
    """Train some models on a dataset and let them vote.

    Exit status 1 where a member ends without a model; `lenet jobs retry` trains it again.
    """
    from client.configs import read_config

    client = connect(context)
    made = client.ensembles.train(
        dataset_id,
        [read_config(config) for config in configs],
        voting=_voting(hard=hard),
        weights=weight,
        name=name,
    )
    _show(client.ensembles.wait(made.id) if wait else made, as_json=as_json)


@app.command("list")
def list_ensembles(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List ensembles, newest first."""
    from client import render_models

    found = list(islice(connect(context).ensembles.iterate(), limit))
    show_list(found, lambda: render_models.ensemble_table(found), as_json=as_json, none="There are no ensembles.")


@app.command("show")
def show_ensemble(context: typer.Context, ensemble_id: EnsembleId, as_json: AsJson = False) -> None:
    """Show an ensemble: the test accuracy of each member and of the vote."""
    _show(connect(context).ensembles.get(ensemble_id), as_json=as_json)


@app.command()
def predict(
    context: typer.Context,
    ensemble_id: EnsembleId,
    images: Images,
    top_k: TopK = None,
    as_json: AsJson = False,
) -> None:
    """Say what the members take images for, and how far they agree."""
    from client import render_models

    found = connect(context).ensembles.predict(ensemble_id, images, top_k=top_k)
    show_list(found, lambda: render_models.vote_table(found), as_json=as_json, none="No image was given.")


@app.command()
def download(
    context: typer.Context,
    ensemble_id: EnsembleId,
    output: ModelOutput = None,
) -> None:
    """Download an ensemble as one ONNX file that votes inside."""
    typer.echo(connect(context).ensembles.download(ensemble_id, output or Path("model.onnx")))


@app.command()
def delete(context: typer.Context, ensemble_id: EnsembleId) -> None:
    """Delete an ensemble; its members stay."""
    connect(context).ensembles.delete(ensemble_id)
    typer.echo(f"{ensemble_id} is deleted.")


def _voting(*, hard: bool) -> str | None:
    return "hard" if hard else None


def _show(ensemble: "Ensemble", *, as_json: bool) -> None:
    from client import render_models

    show(ensemble, lambda: render_models.ensemble_view(ensemble), as_json=as_json)
