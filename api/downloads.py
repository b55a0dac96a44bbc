"""Bytes from the store to a client: whole, a range, or only word that they have not changed."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

from flask import Response, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import PreconditionFailed, RequestedRangeNotSatisfiable
from werkzeug.http import is_resource_modified, parse_etags

from api.models import StoredFile
from core.storage.store import ObjectStore

_CHUNK_BYTES = 2**16


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
    return _stream(store, file.key, start, end, status=206 if wanted else 200, headers=headers)


def _headers(download: Download) -> Headers:
    headers = Headers()
    headers.set("Content-Type", download.media_type)
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


def _stream(store: ObjectStore, key: str, start: int, end: int, *, status: int, headers: Headers) -> Response:
    if request.method == "HEAD":
        store.stat(key)
        return Response(status=status, headers=headers)
    with ExitStack() as stack:
        source = stack.enter_context(store.open(key, offset=start, length=end - start))
        response = Response(_pieces(source), status=status, headers=headers)
        response.call_on_close(stack.pop_all().close)
    return response


def _pieces(source: BinaryIO) -> Iterator[bytes]:
    while piece := source.read(_CHUNK_BYTES):
        yield piece
