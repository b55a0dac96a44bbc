"""Plots of a training: those that it left, and the history of one that still runs."""

from http import HTTPStatus

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from werkzeug.exceptions import PreconditionFailed

from api.auth import BASE_PATH, principal
from api.documents import SECURITY, TAGS, download_responses, problems
from api.downloads import Download, send
from api.models import StoredFile
from api.ports import ports
from api.schemas.jobs import shape_epoch
from api.schemas.paths import PlotPath
from core.db.engine import reading, transaction
from core.domain.jobs import JobStatus
from core.domain.plots import HISTORY, plot_file
from core.services import jobs, results

routes = APIBlueprint(
    "plots",
    __name__,
    url_prefix=BASE_PATH,
    abp_tags=[TAGS["results"]],
    abp_security=SECURITY,
    abp_responses=problems(409),
)


@routes.get(
    "/jobs/<id:job_id>/plots/<plot:name>.png",
    responses=download_responses("The picture.", "image/png"),
)
def show_plot(path: PlotPath) -> Response:
    """Show a plot. `history` serves a job in any state, with the epochs that have ended; the others need success."""
    if path.name == HISTORY and not _has_succeeded(path.job_id):
        return _draw_history(path.job_id)
    with reading(ports().sessions) as connection:
        row = results.get_artifact(connection, principal().tenant_id, path.job_id, plot_file(path.name))
    file = StoredFile(row.key, row.size_bytes, row.sha256)
    return send(ports().store, Download(file, row.name, row.media_type, shown=True))


def _has_succeeded(job_id: str) -> bool:
    with transaction(ports().sessions, read_only=True) as session:
        return jobs.get_job(session, principal().tenant_id, job_id).status == JobStatus.SUCCEEDED


def _draw_history(job_id: str) -> Response:
    with transaction(ports().sessions, read_only=True) as session:
        job = jobs.get_job(session, principal().tenant_id, job_id)
        title = f"{job.name}: {job.status}"
        epochs = [shape_epoch(row).model_dump(mode="json") for row in jobs.list_epochs(session, job_id)]
    response = Response(ports().pictures.draw_history(epochs, title=title), content_type="image/png")
    response.headers["Content-Disposition"] = f"inline; filename={plot_file(HISTORY)}"
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    response.make_conditional(request)
    if response.status_code == HTTPStatus.PRECONDITION_FAILED:
        raise PreconditionFailed
    return response
