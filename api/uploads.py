"""An upload's way into the store: streamed, hashed, and gone again unless a row comes to stand for it."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from api.bodies import StrictRequest, refuse_media_type, strict_request
from api.multipart import OnlyFile, open_form
from api.ports import ports
from core import logs
from core.db.engine import transaction
from core.errors import InvalidError, LenetError, NotFoundError, TooLargeError, UnavailableError
from core.services import quotas
from core.services.datasets import get_dataset
from core.storage.keys import dataset_prefix
from core.storage.store import StoredObject

RAW_MEDIA_TYPES = (
    "application/zip",
    "application/x-zip-compressed",
    "application/x-tar",
    "application/gzip",
    "application/x-gzip",
    "application/octet-stream",
)
_FORM_OVERHEAD_BYTES = 2**16
_LONGEST_NAME = 255
_log = logs.get(__name__)


@dataclass(frozen=True)
class Upload:
    """An archive that a request sends, as a stream that ends only where the request was whole."""

    source: BinaryIO
    size_bytes: int | None
    filename: str


def open_upload(request: StrictRequest, *, max_bytes: int) -> Upload:
    """Return the archive that a request sends.

    Raises:
        MediaTypeError: It is neither a form nor an archive.
        TooLargeError: It is announced as too long.
        InvalidError: The form holds something else.
    """
    if request.mimetype == "multipart/form-data":
        body = request.open_body(max_bytes=max_bytes + _FORM_OVERHEAD_BYTES)
        form = open_form(request, io.BufferedReader(body), most_parts=2)
        file = OnlyFile(form, "file")
        return Upload(io.BufferedReader(file), None, file.filename)
    if request.mimetype not in RAW_MEDIA_TYPES:
        refuse_media_type("an archive (application/zip, a tar, or application/octet-stream) or multipart/form-data")
    return Upload(io.BufferedReader(request.open_body(max_bytes=max_bytes)), request.content_length, "")


@contextmanager
def bound_by_quota(tenant_id: str) -> Iterator[int]:
    """Yield how many bytes a tenant's upload may have, by its quota and the platform's bound.

    What is no longer than an archive that is there may be the same one again, which needs no room: that is known at the
    end, and others are refused then.

    Raises:
        QuotaExceededError: It turned out longer within the block, and the quota was the lower bound.
    """
    settings = ports().settings
    with transaction(ports().sessions, read_only=True) as session:
        room = quotas.count_free_bytes(session, tenant_id, settings.limits)
        room = max(room, quotas.measure_largest_archive(session, tenant_id))
    try:
        yield min(room, settings.max_upload_bytes)
    except TooLargeError as error:
        if room >= settings.max_upload_bytes:
            raise
        amount = strict_request().content_length or room + 1
        with transaction(ports().sessions, read_only=True) as session:
            raise quotas.refuse_bytes(session, tenant_id, settings.limits, amount) from error


def store_upload(upload: Upload, key: str, *, max_bytes: int) -> StoredObject:
    """Put an archive into the store; raises as `core.storage.store.ObjectStore.put`, and `InvalidError` if empty."""
    stored = ports().store.put(key, upload.source, size_bytes=upload.size_bytes, max_bytes=max_bytes)
    if not stored.size_bytes:
        raise InvalidError("The archive is empty.", code="empty_archive")
    return stored


def name_of(upload: Upload) -> str:
    """Return a name for a dataset that was given none: the file's, without folders and control characters."""
    last = upload.filename.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(character for character in last if character.isprintable())[:_LONGEST_NAME].strip() or "dataset"


def discard(key: str) -> None:
    """Delete an object that no row stands for; where the store is in trouble it is left to the collection."""
    try:
        ports().store.delete(key)
    except LenetError as error:
        _log.warning("an object stays behind", key=key, reason=error.detail)


def discard_prefix(prefix: str) -> None:
    """Delete the objects of what was deleted; where the store is in trouble they are left to the collection."""
    try:
        ports().store.delete_prefix(prefix)
    except LenetError as error:
        _log.warning("objects stay behind", prefix=prefix, reason=error.detail)


@contextmanager
def discard_unless_kept(tenant_id: str, dataset_id: str) -> Iterator[None]:
    """Delete what was stored for a dataset at the end of the block, unless a row stands for it then.

    None does where the upload was refused, the same bytes were there, or the commit failed. A commit
    whose answer was lost may have happened, or be about to: where a service did not answer nothing is deleted, and what
    no row names then is collected later.
    """
    answered = True
    try:
        yield
    except UnavailableError:
        answered = False
        raise
    finally:
        if answered:
            _discard_unless_kept(tenant_id, dataset_id)


def _discard_unless_kept(tenant_id: str, dataset_id: str) -> None:
    try:
        with transaction(ports().sessions, read_only=True) as session:
            get_dataset(session, tenant_id, dataset_id)
    except NotFoundError:
        discard_prefix(dataset_prefix(tenant_id, dataset_id))
    except LenetError as error:
        _log.warning("an object may stay behind", dataset=dataset_id, reason=error.detail)
