"""What running work writes: fenced by its attempt, and tried again while the lease holds and a service is away."""

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import IntegrityError as MissingRowError
from sqlalchemy.orm import Session

from core import logs
from core.db.engine import Sessions, transaction
from core.errors import IntegrityError, UnavailableError
from core.services.claims import Claim
from core.services.progress import record_log
from worker.lease import Lease

_log = logs.get(__name__)
_RETRY_SECONDS = 0.5
_MOST_WRONG = 3

Value = TypeVar("Value")


class PatientWriter:
    """Does things under one lease that need the database or the store."""

    def __init__(self, sessions: Sessions, lease: Lease) -> None:
        self._sessions = sessions
        self._lease = lease

    def insist(self, action: Callable[[], Value]) -> Value:
        """Return what ``action`` returns, trying again while a backing service is away.

        Raises:
            LeaseLostError: What it is done for is no longer held, or the database was away until the lease ran out.
            IntegrityError: What was read was wrong three times: it was not altered on its way.
        """
        wrong = 0
        while True:
            self._lease.check()
            try:
                return action()
            except (UnavailableError, IntegrityError) as error:
                wrong += isinstance(error, IntegrityError)
                if wrong == _MOST_WRONG:
                    raise
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

    def __init__(self, sessions: Sessions, claim: Claim, lease: Lease) -> None:
        super().__init__(sessions, lease)
        self._claim = claim

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
