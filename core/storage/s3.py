"""A store in S3, or in anything that speaks its protocol, through the ``minio`` client."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, cast
from xml.etree.ElementTree import ParseError

from minio import Minio
from minio.datatypes import Object
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from core import clock
from core.errors import LenetError, ObjectNotFoundError, StoreUnavailableError
from core.storage.bodies import CHUNK_BYTES, MeteredBody, Window, save
from core.storage.connections import pool
from core.storage.keys import check_key, folder_of
from core.storage.store import ObjectStat, StoredObject, check_range

PART_BYTES = 8 * 2**20
_MAX_PARTS = 10_000
_CONNECT_SECONDS = 2.0
# A part that was sent, or an upload that is being put together, may take a busy server a while.
_UPLOAD_ANSWER_SECONDS = 30.0
_REFUSALS = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"})
_NOT_TRUSTED = (MinioException, HTTPError, ParseError, UnicodeDecodeError)


class S3Store:
    """Keeps objects in one bucket. Safe to share between threads, not between processes.

    Args:
        bucket: Its name; `check` creates it where it is missing.
        endpoint: ``host:port`` of the server.
        access_key: Who asks.
        secret_key: Signs each request; never sent.
        region: The bucket's region.
        secure: Whether to speak TLS.
        answer_seconds: Longest silence of the server before it counts as down.

    Raises:
        ValueError: The bucket's name or the endpoint is not one.
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
        def connect(seconds: float) -> tuple[Minio, Callable[[], None]]:
            connections = pool(connect_seconds=_CONNECT_SECONDS, answer_seconds=seconds)
            client = Minio(...)
