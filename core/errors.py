"""Every error that the platform raises on purpose.

::

    LenetError                      code, detail, faults
    ├── NotFoundError               the resource is not there, or is another tenant's
    ├── InvalidError                readable but invalid: every fault is listed
    │   ├── UnreadableError         not readable at all: broken JSON, a body cut short
    │   ├── TooLargeError           over a limit on size
    │   └── MediaTypeError          a media type that is not accepted here
    ├── ConflictError               the resource is in a state that forbids it
    │   └── IllegalTransitionError  a change of status that the state machine does not have
    ├── NotAllowedError             the key's scope forbids it
    │   └── UnauthenticatedError    no key, or not a valid one
    ├── TooManyRequestsError        all that may go on at once goes on already; trying later helps; retry_after_seconds
    │   └── QuotaExceededError      the tenant has used up what it may; quota, limit, used
    ├── UnavailableError            a backing service does not answer; trying later may help
    │   └── StoreUnavailableError   the object store does not answer
    ├── ObjectNotFoundError         the object store has nothing under that key
    ├── IntegrityError              stored bytes are not the bytes that were recorded
    ├── LeaseLostError              a newer attempt exists, or the job has ended: write nothing more
    ├── DatasetRejectedError        an archive that cannot become a dataset, with every reason
    └── TrainingError               a training that cannot go on (diverged, out of memory, …)

``code`` is a stable machine word that clients may test; ``detail`` is a sentence for a person. Neither
ever holds a path of the machine, SQL or a secret. The API turns families into HTTP answers in one table.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in the input: where (an RFC 6901 pointer or an archive path) and what."""

    pointer: str
    detail: str


class LenetError(Exception):
    """The root. ``code`` defaults to the family's."""

    code = "error"

    def __init__(self, detail: str, *, code: str | None = None, faults: Sequence[Fault] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.faults = tuple(faults)


class NotFoundError(LenetError):
    """No such resource for this tenant."""

    code = "not_found"


class InvalidError(LenetError):
    """The input is readable but invalid."""

    code = "invalid_request"


class UnreadableError(InvalidError):
    """The input cannot be read."""

    code = "unreadable_request"


class TooLargeError(InvalidError):
    """The input is over a limit on size."""

    code = "too_large"


class MediaTypeError(InvalidError):
    """The input is of a media type that is not accepted here."""

    code = "unsupported_media_type"


class ConflictError(LenetError):
    """The resource is in a state that forbids the request."""

    code = "conflict"


class IllegalTransitionError(ConflictError):
    """The state machine has no such transition."""

    code = "invalid_transition"


class NotAllowedError(LenetError):
    """The key is valid but its scope does not cover the request."""

    code = "forbidden"


class UnauthenticatedError(NotAllowedError):
    """No key, or one that is wrong, expired or revoked."""

    code = "unauthenticated"


class TooManyRequestsError(LenetError):
    """As many of these go on as may at once; the same request may succeed ``retry_after_seconds`` later."""

    code = "too_many_requests"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        faults: Sequence[Fault] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(detail, code=code, faults=faults)
        self.retry_after_seconds = retry_after_seconds


class QuotaExceededError(TooManyRequestsError):
    """The tenant has used up a quota: ``quota`` is its name, ``limit`` its bound, ``used`` what is taken of it."""

    code = "quota_exceeded"

    def __init__(self, detail: str, *, quota: str, limit: int, used: int, retry_after_seconds: int) -> None:
        super().__init__(detail, retry_after_seconds=retry_after_seconds)
        self.quota, self.limit, self.used = quota, limit, used


class UnavailableError(LenetError):
    """A backing service is down or too slow; the same request may succeed later."""

    code = "unavailable"


class StoreUnavailableError(UnavailableError):
    """The object store is down or too slow."""

    code = "store_unavailable"


class ObjectNotFoundError(LenetError):
    """Nothing is stored under the key."""

    code = "object_not_found"


class IntegrityError(LenetError):
    """Stored bytes differ from what was recorded when they were written."""

    code = "integrity"


class LeaseLostError(LenetError):
    """This attempt may write nothing more: a newer one exists, or the job is no longer running."""

    code = "lease_lost"


class DatasetRejectedError(LenetError):
    """The archive cannot become a dataset."""

    code = "dataset_rejected"


class TrainingError(LenetError):
    """The training cannot go on; ``code`` names why (``diverged``, ``out_of_memory``, …)."""

    code = "training_failed"
