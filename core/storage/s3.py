"""A store in S3, or in anything that speaks its protocol, through the ``minio`` client."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, cast
from xml.etree.ElementTree import ParseError

from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from core import clock
from core.errors import ObjectNotFoundError, StoreUnavailableError
from core.storage.bodies import MeteredBody, save
from core.storage.connections import pool
from core.storage.keys import check_key, folder_of
from core.storage.store import ObjectStat, StoredObject, check_range

PART_BYTES = 8 * 2**20
_MOST_PARTS = 10_000
_CONNECT_SECONDS = 2.0
# A server may take a while to keep a part, and longer to put an upload together.
_UPLOAD_SECONDS = 30.0
# An empty delimiter, which the client sends else, makes rclone's server list nothing.
_IN_NO_KEY = "|"
# An upload that takes longer is given up.
_ABANDONED_AFTER = timedelta(days=30)

_MISSING = frozenset({"NoSuchKey", "404"})
_REFUSED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"})
_PAST_THE_END = frozenset({"InvalidRange", "416"})
_NO_UPLOAD = frozenset({"NoSuchUpload", "NotImplemented"})
_ALREADY_MADE = frozenset({"BucketAlreadyExists", "BucketAlreadyOwnedByYou", "409"})
# What the client raises; the last two where what a server, or whatever stands in its place, answers is no XML or lacks
# an element. (Arguments that it refuses with a ValueError never reach it.)
_ANSWERS = (MinioException, HTTPError, ParseError, ValueError)


class S3Store:
    """Keeps objects in one bucket. Threads may share a store, processes may not.

    Args:
        bucket: Its name; `check` makes it where it is missing.
        endpoint: ``host:port`` of the server.
        access_key: Names who asks.
        secret_key: Signs each request; it is never sent.
        region: The bucket's region.
        secure: Whether to speak TLS.
        answer_seconds: Longest silence of the server before it counts as down (an upload's parts get longer).

    Raises:
        ValueError: ``endpoint`` is not one.
    """

    def __init__(
        self,
        bucket: str,
        *,
        endpoint: str,
        access_key: str,
        secret_key: str,
        region: str = "us-east-1",
        secure: bool = True,
        answer_seconds: float = 4.0,
    ) -> None:
        self._bucket = bucket
        self._region = region
        self._pools = [
            pool(connect_seconds=_CONNECT_SECONDS, answer_seconds=seconds)
            for seconds in (answer_seconds, _UPLOAD_SECONDS)
        ]
        self._client, self._uploader = [
            Minio(
                endpoint, access_key=access_key, secret_key=secret_key, secure=secure, region=region, http_client=http
            )
            for http in self._pools
        ]

    def put(
        self, key: str, source: BinaryIO, *, size_bytes: int | None = None, max_bytes: int | None = None
    ) -> StoredObject:
        """Store a body; see `ObjectStore.put`.

        The client is told no length, not even a known one: it then reads to the end of the body, and where
        reading fails (`MeteredBody` raises on a body that is cut short) it gives the upload up.
        """
        check_key(key)
        body = MeteredBody(source, size_bytes=size_bytes, max_bytes=max_bytes)
        self._require_bucket()
        try:
            with _answers():
                self._uploader.put_object(
                    self._bucket,
                    key,
                    cast(BinaryIO, body),
                    -1,
                    part_size=_part_bytes(size_bytes or max_bytes or 0),
                    num_parallel_uploads=1,  # more would hold as many parts in memory
                )
        except Exception:
            if body.failure is not None:
                raise body.failure from None
            raise
        return body.stored_as(key)

    def put_file(self, key: str, path: Path) -> StoredObject:
        """Store a file; see `ObjectStore.put_file`."""
        with path.open("rb") as file:
            return self.put(key, file, size_bytes=path.stat().st_size)

    @contextmanager
    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[BinaryIO]:
        """Open an object; see `ObjectStore.open`. A connection that breaks while it is read raises too."""
        check_key(key)
        check_range(offset, length)
        with self._reader(key, offset, length) as file:
            yield file

    def fetch(self, key: str, path: Path, *, sha256: str | None = None, size_bytes: int | None = None) -> None:
        """Copy an object to a file; see `ObjectStore.fetch`."""
        with self.open(key) as source:
            save(source, path, sha256=sha256, size_bytes=size_bytes)

    def stat(self, key: str) -> ObjectStat:
        """Return size and time of an object; see `ObjectStore.stat`."""
        check_key(key)
        with _answers(of_object=True):
            found = self._client.stat_object(self._bucket, key)
        return ObjectStat(key, found.size or 0, found.last_modified or clock.now())

    def delete(self, key: str) -> None:
        """Delete an object; see `ObjectStore.delete`."""
        check_key(key)
        with suppress(ObjectNotFoundError), _answers(of_object=True):
            self._client.remove_object(self._bucket, key)

    def delete_prefix(self, prefix: str) -> None:
        """Delete what lies under a prefix; see `ObjectStore.delete_prefix`."""
        if not folder_of(prefix):
            raise ValueError("the prefix is empty")
        found = (DeleteObject(entry.key) for entry in self.list(prefix))
        with _answers():
            for fault in self._client.remove_objects(self._bucket, found):
                raise StoreUnavailableError(f"The object store does not delete: {fault.code}.")

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Yield what lies under a prefix; see `ObjectStore.list`."""
        folder = folder_of(prefix)
        with _answers():
            for found in self._client.list_objects(self._bucket, prefix=folder, recursive=True):
                key, modified_at = found.object_name or "", found.last_modified or clock.now()
                yield ObjectStat(key, found.size or 0, modified_at)

    def local_path(self, key: str) -> Path | None:
        """Return ``None``: the store is elsewhere; see `ObjectStore.local_path`."""
        check_key(key)
        return None

    def check(self) -> None:
        """Ask for the bucket, and make it where it is missing; see `ObjectStore.check`."""
        if not self._has_bucket():
            self._make_bucket()

    def clear_abandoned(self) -> None:
        """Give up the uploads in parts that were begun so long ago that nobody can be at them still."""
        limit = clock.now() - _ABANDONED_AFTER
        with _forgiving_uploads(), _answers():
            while True:
                found = self._client._list_multipart_uploads(  # noqa: SLF001 - the client has no other way
                    self._bucket, delimiter=_IN_NO_KEY
                )
                old = [upload for upload in found.uploads if upload.initiated_time and upload.initiated_time < limit]
                for upload in old:
                    self._client._abort_multipart_upload(  # noqa: SLF001 - as above
                        self._bucket, upload.object_name, upload.upload_id or ""
                    )
                if not (old and found.is_truncated):
                    return

    def close(self) -> None:
        """Close the connections; see `ObjectStore.close`."""
        for connections in self._pools:
            connections.clear()

    def _reader(self, key: str, offset: int, length: int | None) -> io.BufferedReader | io.BytesIO:
        if length == 0:
            self.stat(key)
            return io.BytesIO()
        try:
            with _answers(of_object=True):
                response = self._client.get_object(self._bucket, key, offset=offset, length=length or 0)
        except StoreUnavailableError as error:
            if _code(error.__cause__) in _PAST_THE_END:
                return io.BytesIO()
            raise
        return io.BufferedReader(_Answer(response))

    def _require_bucket(self) -> None:
        """Ask for the bucket before an upload, so that a dead server is noticed with the short patience."""
        if not self._has_bucket():
            raise StoreUnavailableError("The object store has no such bucket.")

    def _has_bucket(self) -> bool:
        with _answers():
            return self._client.bucket_exists(self._bucket)

    def _make_bucket(self) -> None:
        try:
            with _answers():
                self._client.make_bucket(self._bucket, location=self._region)
        except StoreUnavailableError as error:
            if _code(error.__cause__) not in _ALREADY_MADE:  # another process was faster
                raise


class _Answer(io.RawIOBase):
    """The body of an answer, as a file whose trouble is the store's."""

    def __init__(self, response: BaseHTTPResponse) -> None:
        self._response = response

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the base takes any buffer
        with _answers():
            piece = self._response.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._response.close()
            self._response.release_conn()
        super().close()


@contextmanager
def _forgiving_uploads() -> Iterator[None]:
    """Pass over what says that there is no such upload, as rclone's server does where it has none at all."""
    try:
        yield
    except StoreUnavailableError as error:
        if _code(error.__cause__) not in _NO_UPLOAD:
            raise


def _part_bytes(most_bytes: int) -> int:
    """Return the size of an upload's parts: larger ones only where the upload would have too many."""
    return max(PART_BYTES, -(-most_bytes // _MOST_PARTS))


@contextmanager
def _answers(*, of_object: bool = False) -> Iterator[None]:
    """Translate what the client raises; only ``of_object`` does a 404 mean that there is no such object."""
    try:
        yield
    except _ANSWERS as error:
        if of_object and _code(error) in _MISSING:
            raise ObjectNotFoundError("Nothing is stored under this key.") from error
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> StoreUnavailableError:
    code = _code(error)
    if code in _REFUSED:
        return StoreUnavailableError("The object store refuses the access key, or what it asks for.")
    if code:
        return StoreUnavailableError(f"The object store answers {code}.")
    return StoreUnavailableError("The object store does not answer.")


def _code(error: BaseException | None) -> str:
    """Return S3's word for an error, or the HTTP status, or ``""`` where there was no answer.

    Some servers send their errors as ``text/xml``; the client then only quotes them in its message.
    """
    if isinstance(error, S3Error):
        return error.code or ""
    told = re.search(r"<Code>(\w+)</Code>", str(error)) or re.search(
        r"Response code: (\d+)|HTTP status code (\d+)", str(error)
    )
    return next(filter(None, told.groups())) if told else ""
