"""Bytes from the store to a client: whole, a range, or only word that they have not changed.

They are compared with the hash that was recorded when they were stored. A file of usual size is read once for that
before its first byte is sent; the last bytes of a longer one are held back until the rest has been compared.
"""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

from flask import Response, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import PreconditionFailed, RequestedRangeNotSatisfiable
from werkzeug.http import is_resource_modified, parse_etags

from api.models import StoredFile
from core.errors import IntegrityError
from core.storage.store import ObjectStore

MEDIA_TYPES = (
    "application/octet-stream",
    "application/gzip",
    "application/json",
    "application/x-tar",
    "application/zip",
    "image/png",
    "text/csv",
)
"""What a file may be called on its way out: nothing that a browser would run. Whatever else it is goes as the first."""

_CHUNK_BYTES = 2**16
# So many bytes are read and hashed in a fraction of a second.
_FIRST_CHECKED_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Download:
    """A stored file as it is offered under a name of ours: saved, or shown where it is a picture that we have drawn."""

    file: StoredFile
    filename: str
    media_type: str
    shown: bool = False


def send(store: ObjectStore, download: Download) -> Response:
    """Return a download, honouring ``Range``, ``If-Range``, ``If-Match`` and ``If-None-Match``.

    Raises:
        ObjectNotFoundError: The store does not have it.
        IntegrityError: The store has other bytes than were recorded. Of a file that is too long to be compared first, a
            download of the whole breaks off before its end instead.
        RequestedRangeNotSatisfiable: The range is past the end, or there are several.
    """
    file, headers = download.file, _headers(download)
    if not is_resource_modified(request.environ, etag=file.sha256):
        if parse_etags(request.headers.get("If-Match")):
            raise PreconditionFailed
        return Response(status=304, headers=headers)
    wanted = _wanted_range(file)
    start, end = wanted or (0, file.size_bytes)
    headers["Content-Length"] = str(end - start)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size_bytes}"
    return _stream(store, file, start, end, status=206 if wanted else 200, headers=headers)


def _headers(download: Download) -> Headers:
    headers = Headers()
    headers.set("Content-Type", download.media_type if download.media_type in MEDIA_TYPES else MEDIA_TYPES[0])
    headers.set("Content-Disposition", "inline" if download.shown else "attachment", filename=download.filename)
    headers.set("ETag", f'"{download.file.sha256}"')
    headers.set("Accept-Ranges", "bytes")
    headers.set("Cache-Control", "private, no-cache")
    headers.set("Content-Security-Policy", "sandbox; default-src 'none'")
    return headers


def _wanted_range(file: StoredFile) -> tuple[int, int] | None:
    """Return the first byte and the one after the last; ``None`` where all of it is wanted."""
    if "," in request.headers.get("Range", ""):  # hundreds of ranges in one request are an attack, not a download
        raise RequestedRangeNotSatisfiable(file.size_bytes)
    wanted = request.range
    if wanted is None or wanted.units != "bytes" or request.method != "GET":
        return None
    if "If-Range" in request.headers and request.if_range.etag != file.sha256:
        return None
    found = wanted.range_for_length(file.size_bytes)
    if found is None or found[1] is None:
        raise RequestedRangeNotSatisfiable(file.size_bytes)
    return found[0], found[1]


def _stream(store: ObjectStore, file: StoredFile, start: int, end: int, *, status: int, headers: Headers) -> Response:
    if request.method == "HEAD":
        store.stat(file.key)
        return Response(status=status, headers=headers)
    if file.size_bytes <= _FIRST_CHECKED_BYTES:
        _compare(store, file)
    with ExitStack() as stack:
        source = stack.enter_context(store.open(file.key, offset=start, length=end - start))
        is_whole = (start, end) == (0, file.size_bytes)
        response = Response(_pieces(source, file.sha256 if is_whole else None), status=status, headers=headers)
        response.call_on_close(stack.pop_all().close)
    return response


def _compare(store: ObjectStore, file: StoredFile) -> None:
    with store.open(file.key, length=file.size_bytes + 1) as source:
        for _ in _pieces(source, file.sha256):
            pass


def _pieces(source: BinaryIO, sha256: str | None) -> Iterator[bytes]:
    """Yield what ``source`` holds, the last piece only where the hash of all is ``sha256``."""
    digest, held = hashlib.sha256(), b""
    while piece := source.read(_CHUNK_BYTES):
        digest.update(piece)
        if held:
            yield held
        held = piece
    if sha256 is not None and digest.hexdigest() != sha256:
        raise IntegrityError("The stored file is not the one that was recorded.")
    yield held
