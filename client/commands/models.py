"""``lenet models``: names for models, with versions and aliases."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from client.commands.session import AsJson, Images, Limit, ModelOutput, TopK, connect, show, show_list

app = typer.Typer(help="Names for models, with versions and aliases.", no_args_is_help=True)

ModelName = Annotated[str, typer.Argument(metavar="NAME", help="The model's name.", show_default=False)]
Reference = Annotated[
    str, typer.Argument(metavar="NAME@WHICH", help="A version: digits@production or digits@3.", show_default=False)
]
AliasWord = Annotated[str, typer.Argument(metavar="ALIAS", help="A word, as production.", show_default=False)]
Number = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="The version's number.", show_default=False)]
Description = Annotated[str | None, typer.Option(help="Words for people.", show_default=False)]


@app.command()
def create(context: typer.Context, name: ModelName, description: Description = None, as_json: AsJson = False) -> None:
    """Give versions of a model a name."""
    from client import render_models

    made = connect(context).models.create(name, description=description)
    show(made, lambda: render_models.model_view(made), as_json=as_json)


@app.command("add")
def add_version(
    context: typer.Context,
    name: ModelName,
    source: Annotated[
        str, typer.Argument(metavar="JOB|ENSEMBLE", help="What the version is, by its id.", show_default=False)
    ],
    *,
    description: Description = None,
    alias: Annotated[
        str | None, typer.Option(help="An alias to point at it at once, as production.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add the next version of a model: a job's, or an ensemble. It never changes."""
    from client import render_models

    models = connect(context).models
    kind = "ensemble_id" if source.startswith("ens_") else "job_id"
    made = models.add_version(name, description=description, **{kind: source})
    if alias:
        models.set_alias(name, alias, made.version)
    show(made, lambda: render_models.version_table([made]), as_json=as_json)


@app.command("list")
def list_models(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List named models, newest first."""
    from client import render_models

    found = list(islice(connect(context).models.iterate(), limit))
    show_list(found, lambda: render_models.model_table(found), as_json=as_json, none="There are no models.")


@app.command("show")
def show_model(context: typer.Context, name: ModelName, as_json: AsJson = False) -> None:
    """Show a model and where its aliases point."""
    from client import render_models

    found = connect(context).models.get(name)
    show(found, lambda: render_models.model_view(found), as_json=as_json)


@app.command()
def versions(context: typer.Context, name: ModelName, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List the versions of a model, newest first."""
    from client import render_models

    found = list(islice(connect(context).models.versions(name), limit))
    none = "The model has no versions yet: lenet models add NAME JOB"
    show_list(found, lambda: render_models.version_table(found), as_json=as_json, none=none)


@app.command("set-alias")
def set_alias(
    context: typer.Context, name: ModelName, alias: AliasWord, version: Number, as_json: AsJson = False
) -> None:
    """Let an alias point at a version."""
    from client import render_models

    found = connect(context).models.set_alias(name, alias, version)
    show(found, lambda: render_models.alias_table([found]), as_json=as_json)


@app.command("delete-alias")
def delete_alias(context: typer.Context, name: ModelName, alias: AliasWord) -> None:
    """Take an alias away; its history stays."""
    connect(context).models.delete_alias(name, alias)
    typer.echo(f"{name}@{alias} is deleted.")


@app.command()
def history(
    context: typer.Context,
    name: ModelName,
    alias: Annotated[str | None, typer.Argument(metavar="ALIAS", help="Only this alias.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List who set an alias, when, and from which version to which."""
    from client import render_models

    found = connect(context).models.history(name, alias)
    show_list(found, lambda: render_models.change_table(found), as_json=as_json, none="No alias was ever set.")


@app.command()
def predict(
    context: typer.Context,
    reference: Reference,
    images: Images,
    top_k: TopK = None,
    as_json: AsJson = False,
) -> None:
    """Say what a version takes images for."""
    from client import render_models

    found = connect(context).models.predict(reference, images, top_k=top_k)
    show_list(found, lambda: render_models.vote_table(found), as_json=as_json, none="No image was given.")


@app.command()
def download(
    context: typer.Context,
    reference: Reference,
    output: ModelOutput = None,
) -> None:
    """Download the ONNX file of a version."""
    typer.echo(connect(context).models.download(reference, output or Path("model.onnx")))


@app.command()
def delete(
    context: typer.Context,
    name: ModelName,
    version: Annotated[int | None, typer.Option(min=1, help="Only this version.", show_default=False)] = None,
) -> None:
    """Delete a model, or one version of it, that no alias points at; jobs and ensembles stay."""
    models = connect(context).models
    if version is None:
        models.delete(name)
    else:
        models.delete_version(name, version)
    typer.echo(f"{name}{'' if version is None else f'@{version}'} is deleted.")
