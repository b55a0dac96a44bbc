"""Connections to PostgreSQL that give up on a server that has fallen silent, as one that is frozen or cut off does.

Nothing that the server is told bounds the wait for it: a time limit on statements is kept by the server itself. So the
wait for its answer ends here. And whoever finds it silent tells the others: while one of them tries to connect anew,
they are refused at once, so that a silent database never holds up more threads than had asked it already, and one.
"""

import threading
import time
from collections.abc import Callable

from psycopg import Connection, OperationalError
from psycopg.abc import RV, PQGen
from psycopg.errors import ConnectionTimeout
from psycopg.rows import TupleRow

REST_SECONDS = 1.0
_INTERVAL_SECONDS = 0.1


class Gate:
    """Whether the server answers, as those know who asked last."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._silent_at: float | None = None
        self._trying = threading.Lock()

    def close(self) -> None:
        """Note that the server has fallen silent."""
        self._silent_at = self._clock()

    def connect(self, connect: Callable[[], "ImpatientConnection"]) -> "ImpatientConnection":
        """Return a new connection.

        Raises:
            OperationalError: There is none: at once, where the server was silent a second ago or another tries already.
        """
        if self._silent_at is None:
            return self._try(connect)
        if self._clock() - self._silent_at < REST_SECONDS or not self._trying.acquire(blocking=False):
            raise OperationalError("the server has fallen silent, and is being tried")
        try:
            return self._try(connect)
        finally:
            self._trying.release()

    def _try(self, connect: Callable[[], "ImpatientConnection"]) -> "ImpatientConnection":
        try:
            connection = connect()
        except ConnectionTimeout:
            self.close()
            raise
        self._silent_at = None
        return connection


class ImpatientConnection(Connection[TupleRow]):
    """A connection on which no answer is awaited for longer than ``patience_seconds``; then it is closed."""

    patience_seconds = 30.0
    gate: Gate

    def is_over(self) -> bool:
        """Return whether the server has ended the session, as far as has come here: it is not asked."""
        try:
            for _ in range(2):  # The last words are read before the end is.
                self.pgconn.consume_input()
        except OperationalError:
            return True
        return False

    def wait(self, gen: PQGen[RV], interval: float = _INTERVAL_SECONDS, timeout: float | None = None) -> RV:
        """Wait for an answer; see psycopg's ``Connection.wait``."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        began = time.monotonic()
        try:
            return super().wait(gen, interval, self.patience_seconds)
        except OperationalError:
            if time.monotonic() - began >= self.patience_seconds:
                # What was asked may still be done there: whoever wants to know has to ask anew.
                self.gate.close()
                self.pgconn.finish()
            raise
