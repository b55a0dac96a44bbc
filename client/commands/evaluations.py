"""``lenet evaluate`` and ``lenet evaluations``: trained models looked at on other images."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from client.commands.session import AsJson, DatasetId, JobId, Limit, connect, show, show_list

if TYPE_CHECKING:
    from client.types import Evaluation

app = typer.Typer(help="See models that were looked at on other images.", no_args_is_help=True)

EvaluationId = Annotated[
    str, typer.Argument(metavar="EVALUATION", help="The evaluation's id (eval_…).", show_default=False)
]


def evaluate(
    context: typer.Context,
    job_id: JobId,
    dataset_id: DatasetId,
    *,
    split: Annotated[
        str | None, typer.Option(help="test, train, validation or all; without it, test.", show_default=False)
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end and show the report.")] = True,
    as_json: AsJson = False,
) -> None:
    """Look at the model of a job on another dataset of the same class names.

    Exit status 1 where it fails.
    """
    from client import render

    client = connect(context)
    evaluation = client.evaluations.submit(job_id, dataset_id, split=split)
    if not wait:
        _show(evaluation, as_json=as_json)
        return
    found = client.evaluations.report(client.evaluations.wait(evaluation.id).id)
    show(found, lambda: render.report_view(found), as_json=as_json)


@app.command("list")
def list_evaluations(
    context: typer.Context,
    job: Annotated[str | None, typer.Option(help="Only those of this job (its id).", show_default=False)] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List evaluations, newest first."""
    from client import render_models

    found = list(islice(connect(context).evaluations.iterate(job_id=job), limit))
    show_list(found, lambda: render_models.evaluation_table(found), as_json=as_json, none="There are no evaluations.")


@app.command("show")
def show_evaluation(context: typer.Context, evaluation_id: EvaluationId, as_json: AsJson = False) -> None:
    """Show an evaluation."""
    _show(connect(context).evaluations.get(evaluation_id), as_json=as_json)


@app.command()
def report(context: typer.Context, evaluation_id: EvaluationId, as_json: AsJson = False) -> None:
    """Show the metrics on these images: each class, the confusion matrix, the worst mistakes."""
    from client import render

    found = connect(context).evaluations.report(evaluation_id)
    show(found, lambda: render.report_view(found), as_json=as_json)


@app.command()
def delete(context: typer.Context, evaluation_id: EvaluationId) -> None:
    """Delete an evaluation with its report; one that waits or runs is given up."""
    connect(context).evaluations.delete(evaluation_id)
    typer.echo(f"{evaluation_id} is deleted.")


def _show(evaluation: "Evaluation", *, as_json: bool) -> None:
    from client import render_models

    show(evaluation, lambda: render_models.evaluation_table([evaluation]), as_json=as_json)
