"""What a job that succeeded gives: its report, its files, predictions."""

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from api.answers import answer
from api.auth import BASE_PATH, principal
from api.documents import SECURITY, TAGS, download_responses, problems
from api.downloads import MEDIA_TYPES, Download, send
from api.images import describe_images, read_images
from api.models import StoredFile, read_whole
from api.ports import ports
from api.schemas.base import Items
from api.schemas.paths import ArtifactPath, JobPath
from api.schemas.results import Artifact, Predictions, PredictQuery, shape_artifact
from core.db.engine import reading, transaction
from core.domain.reports import Report
from core.inference.predictions import predict_images
from core.inference.predictor import Predictor
from core.services import results
from core.services.results import StoredArtifact

routes = APIBlueprint(
    "results",
    __name__,
    url_prefix=BASE_PATH,
    abp_tags=[TAGS["results"]],
    abp_security=SECURITY,
    abp_responses=problems(409),
)
_REPORT, _MODEL = "report.json", "model.onnx"


@routes.get("/jobs/<id:job_id>/report", responses={200: Report})
def show_report(path: JobPath) -> Response:
    """Show the test metrics."""
    row = _get_artifact(path.job_id, _REPORT)
    return Response(read_whole(ports().store, _to_file(row)), content_type="application/json")


@routes.get("/jobs/<id:job_id>/artifacts", responses={200: Items[Artifact]})
def list_artifacts(path: JobPath) -> Response:
    """List the files that the training left."""
    with transaction(ports().sessions, read_only=True) as session:
        rows = results.list_artifacts(session, principal().tenant_id, path.job_id)
    return answer(Items[Artifact](items=[shape_artifact(row) for row in rows]))


@routes.get(
    "/jobs/<id:job_id>/artifacts/<name:name>",
    responses=download_responses("The file.", *MEDIA_TYPES),
)
def download_artifact(path: ArtifactPath) -> Response:
    """Download a file; its `ETag` is its SHA-256."""
    row = _get_artifact(path.job_id, path.name)
    return send(ports().store, Download(_to_file(row), row.name, row.media_type))


@routes.post(
    "/jobs/<id:job_id>/predict", request_body=describe_images(), responses={**problems(409, 413), 200: Predictions}
)
def predict(path: JobPath, query: PredictQuery) -> Response:
    """Predict the classes of images, in the order in which they are sent or stand in the ZIP."""
    return answer(predict_with_job(path.job_id, top_k=query.top_k))


def predict_with_job(job_id: str, *, top_k: int) -> Predictions:
    """Return what the model of a job takes the images of this request for."""
    predictor = find_predictor(job_id)
    images = read_images()
    predictions = predict_images(
        predictor, images, top_k=top_k, max_pixels=ports().settings.image_max_pixels, read=ports().decoders.reader()
    )
    return Predictions(predictions=predictions)


def find_predictor(job_id: str) -> Predictor:
    """Return the model of a job of whoever asks; raises as `core.services.results.get_artifact`."""
    return ports().models.get(find_model_file(job_id))


def find_model_file(job_id: str) -> StoredFile:
    """Return where the model of a job of whoever asks is; raises as `core.services.results.get_artifact`."""
    return _to_file(_get_artifact(job_id, _MODEL))


def _get_artifact(job_id: str, name: str) -> StoredArtifact:
    with reading(ports().sessions) as connection:
        return results.get_artifact(connection, principal().tenant_id, job_id, name)


def _to_file(row: StoredArtifact) -> StoredFile:
    return StoredFile(row.key, row.size_bytes, row.sha256)
