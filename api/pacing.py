"""How long a client is waited for: it must send and take bytes at a least rate, or it is cut off."""

import errno
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """How slow a client may be.

    Attributes:
        seconds: How long each portion of bytes may take; a whole message may end sooner.
        bytes_per_second: The least rate over that time.
    """

    seconds: float
    bytes_per_second: int

    @property
    def portion_bytes(self) -> int:
        """Return how many bytes must come, or go, within the time."""
        return max(1, int(self.seconds * self.bytes_per_second))


class SlowClientError(TimeoutError):
    """A client sends or takes bytes more slowly than is allowed; nothing more is to be hoped of it."""

    def __init__(self) -> None:
        # To the server it is like a client that has gone, of whom it makes no fuss in the log.
        super().__init__(errno.EPIPE, "the client is too slow")


class Pace:
    """Counts the time that was spent waiting for a client, and for nothing else: our own slowness is not the client's.

    Args:
        patience: What is allowed.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._waited_seconds = 0.0
        self._bytes = 0

    def left_seconds(self) -> float:
        """Return how long may still be waited; raises `SlowClientError` where that is over."""
        left = self._patience.seconds - self._waited_seconds
        if left <= 0:
            raise SlowClientError
        return left

    def note(self, waited_seconds: float, size_bytes: int) -> None:
        """Note that bytes came, or went, after a wait; with each whole portion the time begins anew."""
        self._waited_seconds += waited_seconds
        self._bytes += size_bytes
        if self._bytes >= self._patience.portion_bytes:
            self._waited_seconds, self._bytes = 0.0, 0


class PacedSocket(socket.socket):
    """A client's connection, whose blocking calls wait no longer than patience lasts.

    Calls that do not block, or that have a timeout of their own, are left alone.

    Args:
        link: The connection; it is taken over.
        patience: How slow the client may be.
    """

    def __init__(self, link: socket.socket, patience: Patience) -> None:
        super().__init__(link.family, link.type, link.proto, fileno=link.detach())
        self._patience = patience
        self.begin()

    def begin(self) -> None:
        """Begin a new request, with all patience."""
        self._receiving = Pace(self._patience)
        self._sending = Pace(self._patience)
        self._end_at: float | None = None

    def end_within(self, seconds: float) -> None:
        """Wait no longer than this for all that this request still sends, however fast it comes."""
        self._end_at = time.monotonic() + seconds

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive some bytes; raises `SlowClientError`."""
        if self.gettimeout() is not None:
            return super().recv(bufsize, flags)
        with self._waiting(self._receiving, end_at=self._end_at) as count:
            piece = super().recv(bufsize, flags)
            count(len(piece))
        return piece

    def sendall(self, data: bytes, flags: int = 0, /) -> None:  # type: ignore[override]  # the base takes any buffer
        """Send everything; raises `SlowClientError`."""
        if self.gettimeout() is not None:
            super().sendall(data, flags)
            return
        rest = memoryview(data)
        while rest:
            with self._waiting(self._sending) as count:
                sent = super().send(rest, flags)
                count(sent)
            rest = rest[sent:]

    @contextmanager
    def _waiting(self, pace: Pace, *, end_at: float | None = None) -> Iterator[Callable[[int], None]]:
        """Wait in the block no longer than may be, and count there what went or came."""
        began = time.monotonic()
        left_seconds = pace.left_seconds() if end_at is None else min(pace.left_seconds(), end_at - began)
        if left_seconds <= 0:
            raise SlowClientError
        sizes: list[int] = []
        self.settimeout(left_seconds)
        try:
            yield sizes.append
        except TimeoutError as error:
            raise SlowClientError from error
        finally:
            self.settimeout(None)
            pace.note(time.monotonic() - began, sum(sizes))
