"""What a job that succeeded gives: its report, its files, predictions."""

import io

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from api.answers import answer
from api.auth import BASE_PATH, principal
from api.bodies import refuse_media_type, strict_request
from api.documents import SECURITY, TAGS, file_response, problems
from api.downloads import MEDIA_TYPES, Download, send
from api.models import StoredFile, read_whole
from api.multipart import open_form
from api.ports import ports
from api.schemas.base import Items
from api.schemas.paths import ArtifactPath, JobPath
from api.schemas.results import Artifact, Predictions, PredictQuery, shape_artifact
from core.db.engine import reading, transaction
from core.domain.reports import Report
from core.errors import Fault, InvalidError
from core.inference.predictions import predict_images
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
_IMAGES = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
_BODY = {
    "required": True,
    "description": "One or many images: PNG, JPEG, BMP, GIF, WebP or TIFF.",
    "content": {
        "multipart/form-data": {"schema": {"type": "object", "required": ["image"], "properties": {"image": _IMAGES}}}
    },
}


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
    responses={
        **problems(409, 412, 416),
        200: file_response("The file.", *MEDIA_TYPES),
        206: file_response("A range of it.", *MEDIA_TYPES),
        304: None,
    },
)
def download_artifact(path: ArtifactPath) -> Response:
    """Download a file; its `ETag` is its SHA-256."""
    row = _get_artifact(path.job_id, path.name)
    return send(ports().store, Download(_to_file(row), row.name, row.media_type))


@routes.post("/jobs/<id:job_id>/predict", request_body=_BODY, responses={**problems(409, 413), 200: Predictions})
def predict(path: JobPath, query: PredictQuery) -> Response:
    """Predict the classes of images, in the order in which they are sent."""
    row = _get_artifact(path.job_id, _MODEL)
    images = _read_images()
    predictor = ports().models.get(_to_file(row))
    predictions = predict_images(
        predictor,
        images,
        top_k=query.top_k,
        max_pixels=ports().settings.image_max_pixels,
        read=ports().decoders.reader(),
    )
    return answer(Predictions(predictions=predictions))


def _get_artifact(job_id: str, name: str) -> StoredArtifact:
    with reading(ports().sessions) as connection:
        return results.get_artifact(connection, principal().tenant_id, job_id, name)


def _to_file(row: StoredArtifact) -> StoredFile:
    return StoredFile(row.key, row.size_bytes, row.sha256)


def _read_images() -> list[tuple[str, bytes]]:
    """Return the images that the request sends, with their names.

    Raises:
        TooLargeError: They are too many, or too large together.
        InvalidError: There is none, or something else.
    """
    request, settings = strict_request(), ports().settings
    if request.mimetype != "multipart/form-data":
        refuse_media_type("multipart/form-data with one or many files named image")
    body = io.BufferedReader(request.open_body(max_bytes=settings.max_predict_bytes))
    images: list[tuple[str, bytes]] = []
    for part in open_form(request, body, most_parts=settings.max_predict_images).read_parts():
        if part.name != "image":
            raise InvalidError("The form has an unknown field.", faults=[Fault(f"/{part.name}", "is not known")])
        images.append((part.filename or f"image-{len(images)}", part.readall()))
    if not images:
        raise InvalidError("The form has no image.", faults=[Fault("/image", "is missing")])
    return images
