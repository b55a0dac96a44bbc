"""Datasets: upload, look, delete."""

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from sqlalchemy.orm import Session

from api.answers import answer, answer_again, no_content
from api.audit import note
from api.auth import BASE_PATH, principal
from api.bodies import strict_request
from api.documents import SECURITY, TAGS, download_responses, file_response, problems
from api.downloads import Download, send
from api.idempotency import Created, create
from api.models import StoredFile
from api.paging import shape_page
from api.ports import ports
from api.request_ids import request_id
from api.schemas.base import Creation, Page, PageQuery
from api.schemas.datasets import Dataset, Entry, EntryQuery, UploadQuery, shape_dataset, shape_entries
from api.schemas.paths import DatasetPath
from api.uploads import (
    RAW_MEDIA_TYPES,
    bound_by_quota,
    discard_prefix,
    discard_unless_kept,
    name_of,
    open_upload,
    store_upload,
)
from core.crash_points import reach
from core.db.engine import transaction
from core.db.rows import DatasetRow
from core.domain.datasets import DatasetStatus
from core.domain.identifiers import new_id
from core.errors import ConflictError
from core.services import datasets
from core.storage import keys
from core.storage.store import StoredObject

routes = APIBlueprint(
    "datasets",
    __name__,
    url_prefix=BASE_PATH,
    abp_tags=[TAGS["datasets"]],
    abp_security=SECURITY,
    abp_responses=problems(),
)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}}}
_BODY = {
    "required": True,
    "description": "A .zip, .tar or .tar.gz with `train/<class>/…` and `test/<class>/…`, or class folders alone.",
    "content": {"multipart/form-data": {"schema": _FORM}, **dict.fromkeys(RAW_MEDIA_TYPES, _BINARY)},
}
_ARCHIVES = {b"PK": ("zip", "application/zip"), b"\x1f\x8b": ("tar.gz", "application/gzip")}
_ARCHIVE_TYPES = ("application/zip", "application/gzip", "application/x-tar")


@routes.post("/datasets", request_body=_BODY, responses={**problems(409, 413), 200: Dataset, 202: Dataset})
def upload_dataset(header: Creation, query: UploadQuery) -> Response:
    """Upload an archive; it is read in the background. The same bytes again give the dataset that is there."""
    tenant_id, dataset_id = principal().tenant_id, new_id("ds")
    with discard_unless_kept(tenant_id, dataset_id):
        with bound_by_quota(tenant_id) as max_bytes:
            upload = open_upload(strict_request(), max_bytes=max_bytes)
            name = query.name or name_of(upload)
            archive = store_upload(upload, keys.dataset_archive(tenant_id, dataset_id), max_bytes=max_bytes)
        reach("api.put_before_row")
        given = create(
            header,
            content=archive.sha256.encode(),
            work=lambda session: _register(session, archive, dataset_id=dataset_id, name=name),
        )
    return answer_again(given.body, status=given.status, location=given.location)


def _register(session: Session, archive: StoredObject, *, dataset_id: str, name: str) -> Created:
    row, wake_ups = datasets.register_dataset(
        session,
        principal().tenant_id,
        dataset_id,
        name=name,
        archive=archive,
        request_id=request_id(),
        limits=ports().settings.limits,
    )
    status = 202 if row.id == dataset_id else 200
    if status == 202:
        note(session, row.id, size_bytes=row.size_bytes, sha256=row.sha256)
    return Created(shape_dataset(row), status, f"{BASE_PATH}/datasets/{row.id}", tuple(wake_ups))


@routes.get("/datasets", responses={200: Page[Dataset]})
def list_datasets(query: PageQuery) -> Response:
    """List datasets, newest first."""
    with transaction(ports().sessions, read_only=True) as session:
        page = datasets.list_datasets(session, principal().tenant_id, limit=query.limit, cursor=query.cursor)
    return answer(shape_page(Dataset, page, shape_dataset))


@routes.get("/datasets/<id:dataset_id>", responses={200: Dataset})
def show_dataset(path: DatasetPath) -> Response:
    """Show a dataset."""
    return answer(shape_dataset(_get(path)))


@routes.delete("/datasets/<id:dataset_id>", responses={**problems(409), 204: None})
def delete_dataset(path: DatasetPath) -> Response:
    """Delete a dataset that no job needs any more."""
    tenant_id = principal().tenant_id
    with transaction(ports().sessions) as session:
        datasets.delete_dataset(session, tenant_id, path.dataset_id)
        note(session, path.dataset_id)
    discard_prefix(keys.dataset_prefix(tenant_id, path.dataset_id))
    return no_content()


@routes.get(
    "/datasets/<id:dataset_id>/preview", responses={**problems(409), 200: file_response("A picture.", "image/png")}
)
def show_preview(path: DatasetPath) -> Response:
    """Show some images of each class with its name, as one picture."""
    row = _get(path)
    if row.preview_key is None:
        rejected = row.status == DatasetStatus.REJECTED
        raise ConflictError(
            "The archive was rejected." if rejected else "The archive is still being read.",
            code="dataset_rejected" if rejected else "dataset_not_ready",
        )
    with ports().store.open(row.preview_key) as picture:
        response = Response(picture.read(), content_type="image/png")
    response.headers["Cache-Control"] = "private, no-cache"
    return response


@routes.get(
    "/datasets/<id:dataset_id>/archive",
    responses=download_responses("The bytes that were uploaded.", *_ARCHIVE_TYPES),
)
def download_archive(path: DatasetPath) -> Response:
    """Download the bytes that were uploaded; of an archive that was rejected they are not kept."""
    row = _get(path)
    if row.status == DatasetStatus.REJECTED:
        raise ConflictError("The archive was rejected, and is not kept.", code="dataset_rejected")
    with ports().store.open(row.archive_key, length=2) as source:
        suffix, media_type = _ARCHIVES.get(source.read(), ("tar", "application/x-tar"))
    file = StoredFile(row.archive_key, row.size_bytes, row.sha256)
    return send(ports().store, Download(file, f"{row.id}.{suffix}", media_type))


@routes.get("/datasets/<id:dataset_id>/entries", responses={200: Page[Entry]})
def list_entries(path: DatasetPath, query: EntryQuery) -> Response:
    """List what became of each entry of the archive, in the archive's order."""
    with transaction(ports().sessions, read_only=True) as session:
        row = datasets.get_dataset(session, principal().tenant_id, path.dataset_id)
        rows = datasets.list_entries(session, row.id, outcome=query.outcome, limit=query.limit + 1, after=query.after)
    return answer(shape_entries(rows, limit=query.limit))


def _get(path: DatasetPath) -> DatasetRow:
    with transaction(ports().sessions, read_only=True) as session:
        return datasets.get_dataset(session, principal().tenant_id, path.dataset_id)
