"""HTTP connections to an object store that notice within seconds that it is dead, however slow a living one is."""

from collections.abc import Iterator
from typing import Any, Self

from urllib3 import PoolManager, Retry
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Timeout

_SLICE_BYTES = 16 * 1024
_POOL_SIZE = 32


def pool(*, connect_seconds: float, answer_seconds: float) -> PoolManager:
    """Return a pool of connections.

    Args:
        connect_seconds: Longest wait for a connection, and for room to send the next 16 KiB.
        answer_seconds: Longest silence while an answer is awaited or read.
    """
    manager = PoolManager(
        maxsize=_POOL_SIZE,
        timeout=Timeout(connect=connect_seconds, read=answer_seconds),
        retries=_Retry(
            total=2,
            connect=1,
            backoff_factor=0.2,
            status_forcelist=(500, 502, 503, 504),
            respect_retry_after_header=False,
        ),
    )
    manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
    return manager


class _Retry(Retry):
    """Tries again after a broken connection or a server's fault, not after a silence: that was the whole wait."""

    def increment(self, method: str | None = None, url: str | None = None, *rest: Any, **named: Any) -> Self:
        """Count a failure; see urllib3's ``Retry``."""
        error = named.get("error")
        if isinstance(error, ReadTimeoutError):
            raise error
        return super().increment(method, url, *rest, **named)


class _SlicedHTTP(HTTPConnection):
    def send(self, data: Any) -> None:
        for piece in _slices(data):
            super().send(piece)


class _SlicedHTTPS(HTTPSConnection):
    def send(self, data: Any) -> None:
        for piece in _slices(data):
            super().send(piece)


def _slices(data: Any) -> Iterator[Any]:
    """Cut a body: the time-out of a socket bounds one call, and thereby a pause rather than a whole part."""
    if not isinstance(data, bytes):
        yield data
        return
    view = memoryview(data)
    for start in range(0, len(view), _SLICE_BYTES):
        yield view[start : start + _SLICE_BYTES]


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _SlicedHTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _SlicedHTTPS
