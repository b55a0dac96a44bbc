"""``lenet feature-maps`` and ``saliency``: what a model sees in an image, as pictures."""

from pathlib import Path
from typing import Annotated

import typer

from client.commands.session import AsJson, JobId, connect

ImageFile = Annotated[Path, typer.Argument(metavar="IMAGE", help="An image file.", show_default=False)]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The PNG file; without it, named after the image, here.", show_default=False),
]


def feature_maps(
    context: typer.Context, job_id: JobId, image: ImageFile, output: Output = None, as_json: AsJson = False
) -> None:
    """Save a picture of what each convolution makes of an image; with --json print the arrays."""
    from client import render
    from client.files import write_file

    jobs = connect(context).jobs
    if as_json:
        typer.echo(render.to_json(jobs.feature_maps(job_id, image)))
        return
    typer.echo(write_file(output or Path(f"{image.stem}-feature-maps.png"), jobs.draw_feature_maps(job_id, image)))


def saliency(
    context: typer.Context,
    job_id: JobId,
    image: ImageFile,
    *,
    class_name: Annotated[
        str | None, typer.Option("--class", help="The class to look at; without it, the likeliest.", show_default=False)
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Save a picture of which parts of an image the answer rests on; with --json print the values."""
    from client import render
    from client.files import write_file

    jobs = connect(context).jobs
    if as_json:
        typer.echo(render.to_json(jobs.saliency(job_id, image, class_name=class_name)))
        return
    picture = jobs.draw_saliency(job_id, image, class_name=class_name)
    typer.echo(write_file(output or Path(f"{image.stem}-saliency.png"), picture))
