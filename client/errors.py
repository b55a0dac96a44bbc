"""Every error that the client raises on purpose.

::

    LenetError                        code, detail, faults, request_id
    ├── InputError                    what the caller gave cannot be sent: nothing was
    ├── UnreachableError              no whole answer came from the platform
    │   └── TimedOutError             … within the time allowed
    ├── UnexpectedAnswerError         an answer came that is not the platform's
    ├── DamagedDownloadError          the bytes that came are not the bytes that are stored
    ├── RefusedError                  the platform answered with a problem; status, retry_after_seconds
    │   ├── InvalidRequestError       400, 413, 415, 422: every fault is listed
    │   ├── UnauthenticatedError      401: no key, or not a valid one
    │   ├── NotAllowedError           403: the key's scope forbids it
    │   ├── NotFoundError             404: not there, or another tenant's
    │   ├── ConflictError             409: the resource is in a state that forbids it
    │   ├── TooManyRequestsError      429
    │   ├── UnavailableError          502, 503, 504: a backing service is down
    │   └── ServerError               500 and any other 5xx; other 4xx are a RefusedError itself
    ├── WaitTimeoutError              what was waited for did not end in time
    ├── JobEndedError                 a job that was waited for ended without a model; job
    │   ├── JobFailedError
    │   └── JobCancelledError
    ├── DatasetRejectedError          a dataset that was waited for cannot be trained on; dataset
    ├── EnsembleFailedError           a member of an ensemble that was waited for has no model; ensemble
    └── EvaluationFailedError         an evaluation that was waited for failed; evaluation

``code`` is the stable machine word of the platform (``dataset_not_ready``) or, for what the client found itself, the
family's. ``request_id`` is what the platform's logs call the request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client.types import Dataset, Ensemble, Evaluation, Job, Problem


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in the input: where (a JSON pointer or an archive path) and what."""

    pointer: str
    detail: str


class LenetError(Exception):
    """The root of what the client raises."""

    code = "error"

    def __init__(
        self, detail: str, *, code: str | None = None, faults: Sequence[Fault] = (), request_id: str | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.faults = tuple(faults)
        self.request_id = request_id


class InputError(LenetError):
    """What the caller gave cannot be sent; nothing was."""

    code = "invalid_input"


class UnreachableError(LenetError):
    """No whole answer came. ``sent`` claims that the platform may have acted on the request."""

    code = "unreachable"

    def __init__(self, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.sent = sent


class TimedOutError(UnreachableError):
    """No whole answer came within the time allowed."""

    code = "timed_out"


class UnexpectedAnswerError(LenetError):
    """The answer is not one of the platform's: another program, a proxy, or a version that does not fit."""

    code = "unexpected_answer"


class DamagedDownloadError(LenetError):
    """The bytes that came are fewer than announced, or their SHA-256 is not the stored one's."""

    code = "damaged_download"


class RefusedError(LenetError):
    """The platform answered with a problem. ``status`` is HTTP's; ``retry_after_seconds`` the platform's wish."""

    code = "refused"

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        code: str | None = None,
        faults: Sequence[Fault] = (),
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail, code=code, faults=faults, request_id=request_id)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class InvalidRequestError(RefusedError):
    """The request is unreadable, too large, of a wrong media type or invalid: ``faults`` has every reason."""

    code = "invalid_request"


class UnauthenticatedError(RefusedError):
    """No key was sent, or one that is not valid."""

    code = "unauthenticated"


class NotAllowedError(RefusedError):
    """The key's scope does not cover the request."""

    code = "forbidden"


class NotFoundError(RefusedError):
    """There is no such resource for this key."""

    code = "not_found"


class ConflictError(RefusedError):
    """The resource is in a state that forbids the request."""

    code = "conflict"


class TooManyRequestsError(RefusedError):
    """The platform asks to slow down, also after the waits that it asked for."""

    code = "too_many_requests"


class UnavailableError(RefusedError):
    """A backing service is down; the same request may succeed later."""

    code = "unavailable"


class ServerError(RefusedError):
    """The platform failed on its own."""

    code = "server_error"


class WaitTimeoutError(LenetError):
    """What was waited for did not end in the time allowed; it goes on."""

    code = "wait_timeout"


class JobEndedError(LenetError):
    """A job that was waited for ended without a model."""

    code = "job_ended"

    def __init__(self, job: "Job") -> None:
        reason = job.error.sentence if job.error else f"The job is {job.status}."
        super().__init__(
            f"{job.id} {job.status}: {reason}",
            code=job.error.code if job.error else None,
            faults=[Fault(fault.pointer, fault.detail) for fault in (job.error.errors if job.error else ())],
        )
        self.job = job


class JobFailedError(JobEndedError):
    """The job failed; ``job.error`` says why."""

    code = "job_failed"


class JobCancelledError(JobEndedError):
    """The job was cancelled."""

    code = "job_cancelled"


class DatasetRejectedError(LenetError):
    """The archive could not become a dataset; ``faults`` has every reason with the entries concerned."""

    code = "dataset_rejected"

    def __init__(self, dataset: "Dataset") -> None:
        super().__init__(f"{dataset.id} was rejected: {_sentence(dataset.error)}", **_of_problem(dataset.error))
        self.dataset = dataset


class EnsembleFailedError(LenetError):
    """A member ended without a model; ``faults`` has every such member with its reason."""

    code = "ensemble_failed"

    def __init__(self, ensemble: "Ensemble") -> None:
        super().__init__(f"{ensemble.id} failed: {_sentence(ensemble.error)}", **_of_problem(ensemble.error))
        self.ensemble = ensemble


class EvaluationFailedError(LenetError):
    """The evaluation failed; ``evaluation.error`` says why."""

    code = "evaluation_failed"

    def __init__(self, evaluation: "Evaluation") -> None:
        super().__init__(f"{evaluation.id} failed: {_sentence(evaluation.error)}", **_of_problem(evaluation.error))
        self.evaluation = evaluation


def _sentence(problem: "Problem | None") -> str:
    return problem.sentence if problem else "no reason was given"


def _of_problem(problem: "Problem | None") -> dict[str, Any]:
    faults = [Fault(fault.pointer, fault.detail) for fault in (problem.errors if problem else ())]
    return {"code": problem.code if problem else None, "faults": faults}


_BY_STATUS: dict[int, type[RefusedError]] = {
    400: InvalidRequestError,
    401: UnauthenticatedError,
    403: NotAllowedError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidRequestError,
    415: InvalidRequestError,
    422: InvalidRequestError,
    429: TooManyRequestsError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


def refusal(status: int) -> type[RefusedError]:
    """Return the class of error for an HTTP status that is not a success."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else RefusedError)
