"""The heartbeat: keeps a lease alive from a thread of its own, and says when it is lost."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from core import logs
from core.errors import LeaseLostError, UnavailableError

_log = logs.get(__name__)
# A worker lets go before another one may take over, with time to end what it has started.
_TRUSTED_SHARE = 0.9


class Lease:
    """Renews a claim until it is left.

    ``lost`` is set as soon as the database says that the claim is no longer held, or when it could not be renewed
    for so long that, by this machine's own monotonic clock, another worker may hold it soon: then nothing more may be
    written, whether the database answers or not. One thread renews and another one looks at the clock, which no
    network can hold up.

    Args:
        renew: Extends the lease in the database.
        lease_seconds: How long it holds without that.
        heartbeat_seconds: How often it is extended.
        claimed_at: By the monotonic clock, a moment before the claim was made: whatever held up its answer counts.
    """

    def __init__(
        self, renew: Callable[[], object], *, lease_seconds: float, heartbeat_seconds: float, claimed_at: float
    ) -> None:
        self.lost = threading.Event()
        self._renew = renew
        self._trusted_seconds = _TRUSTED_SHARE * lease_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._left = threading.Event()
        self._renewed_at = claimed_at
        self._lock = threading.Lock()
        self._end: Callable[[], object] | None = None
        self._threads = [
            threading.Thread(target=self._beat, name="lease", daemon=True),
            threading.Thread(target=self._watch_clock, name="lease-clock", daemon=True),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        """Raise `LeaseLostError` where the lease is lost.

        The clock is asked here too: a process that was frozen notices nothing by itself.
        """
        if self._trusted_for() < 0:
            self.lost.set()
        if self.lost.is_set():
            raise LeaseLostError("The lease is lost.")

    @contextmanager
    def ending(self, end: Callable[[], object]) -> Iterator[None]:
        """Have ``end`` called, once, from another thread, where the lease is lost before the block is left.

        Whoever holds the lease may be waiting for a service that does not answer; what it has started must not go on.
        """
        with self._lock:
            self._end = end
        try:
            if self.lost.is_set():
                self._lose()
            yield
        finally:
            with self._lock:
                self._end = None

    def _beat(self) -> None:
        while not self._left.wait(self._heartbeat_seconds) and not self.lost.is_set():
            before = time.monotonic()
            try:
                self._renew()
                self._renewed_at = before
            except LeaseLostError:
                self._lose()
            except UnavailableError as error:
                _log.warning("the lease could not be renewed", detail=error.detail)

    def _watch_clock(self) -> None:
        while not self.lost.is_set():
            if self._left.wait(max(0.0, self._trusted_for())):
                return
            if self._trusted_for() <= 0:
                _log.error("the lease ran out unrenewed")
                self._lose()

    def _trusted_for(self) -> float:
        return self._renewed_at + self._trusted_seconds - time.monotonic()

    def _lose(self) -> None:
        self.lost.set()
        with self._lock:
            end, self._end = self._end, None
            if end is not None:
                end()
