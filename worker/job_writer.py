"""What running work writes: fenced by its attempt, and tried again while the lease holds and a service is away."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import IntegrityError as MissingRowError
from sqlalchemy.orm import Session

from core import logs
from core.db.engine import Sessions, reading, transaction
from core.errors import IntegrityError, LenetError, UnavailableError
from core.services import claims
from core.services.claims import Claim, Wishes
from core.services.progress import record_log
from worker.lease import Lease

_log = logs.get(__name__)
_RETRY_SECONDS = 0.5
_MOST_WRONG = 3
_MOST_WHILE_CLOSING = 3

Value = TypeVar("Value")


class PreemptedError(LenetError):
    """The worker is to stop: what it is at goes back to the queue."""

    code = "preempted"


class PatientWriter:
    """Does things under one lease that need the database or the store, until ``closing`` says that the worker stops."""

    def __init__(self, sessions: Sessions, lease: Lease, closing: threading.Event) -> None:
        self._sessions = sessions
        self._lease = lease
        self._closing = closing

    def check(self) -> None:
        """Raise where whoever waits is to wait no longer: `LeaseLostError` or `PreemptedError`."""
        self._lease.check()
        if self._closing.is_set():
            raise PreemptedError("The worker stops.")

    def insist(self, action: Callable[[], Value]) -> Value:
        """Return what ``action`` returns, trying again while a backing service is away.

        Raises:
            LeaseLostError: What it is done for is no longer held, or the database was away until the lease ran out.
            PreemptedError: The worker is to stop, and the service has not answered three times since.
            IntegrityError: What was read was wrong three times: it was not altered on its way.
        """
        wrong = closing = 0
        while True:
            self._lease.check()
            try:
                return action()
            except (UnavailableError, IntegrityError) as error:
                wrong += isinstance(error, IntegrityError)
                if wrong == _MOST_WRONG:
                    raise
                closing += self._closing.is_set()
                if closing == _MOST_WHILE_CLOSING:
                    raise PreemptedError(f"The worker stops, and cannot wait: {error.detail}") from error
                _log.warning("trying again", detail=error.detail)
                time.sleep(_RETRY_SECONDS)

    def write(self, service: Callable[[Session], Value]) -> Value:
        """Return what ``service`` returns once it is committed; errors as `insist`."""

        def commit() -> Value:
            with transaction(self._sessions) as session:
                return service(session)

        return self.insist(commit)


class JobWriter(PatientWriter):
    """Does them on behalf of one claim of a job, and keeps its log."""

    def __init__(self, sessions: Sessions, claim: Claim, lease: Lease, closing: threading.Event) -> None:
        super().__init__(sessions, lease, closing)
        self._claim = claim

    def read_wishes(self) -> Wishes | None:
        """Return what the user asked, at once; ``None`` where the database is away. Raises `LeaseLostError`."""
        try:
            with reading(self._sessions) as reader:
                return claims.read_wishes(reader, self._claim)
        except UnavailableError:
            return None

    def log(self, message: str, *, level: str = "info") -> None:
        """Add a line to the job's log and to the worker's; a database that is away does not stop the training."""
        _log.info(message)
        try:
            with transaction(self._sessions) as session:
                record_log(session, self._claim, level=level, message=message)
        except UnavailableError as error:
            _log.warning("a line of the job's log was dropped", detail=error.detail)
        except MissingRowError:  # The job was cancelled and deleted meanwhile.
            _log.warning("a line was dropped with the job that it was of")
