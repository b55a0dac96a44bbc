"""The end of a training: its artifacts become visible in one transaction, or its failure is recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from core.db.engine import Reader, read_clock
from core.db.questions import Question
from core.db.rows import ArtifactRow, JobAttemptRow, JobRow
from core.domain.jobs import AttemptEnd, JobStatus, StopReason
from core.errors import ConflictError, NotFoundError
from core.services.claims import Claim, end_attempt, leave
from core.services.jobs import get_job
from core.services.progress import drop_checkpoints
from core.storage.store import StoredObject

_ARTIFACT = Question(
    select(
        *(JobRow.status, ArtifactRow.name, ArtifactRow.media_type),
        *(ArtifactRow.key, ArtifactRow.size_bytes, ArtifactRow.sha256),
    )
    .outerjoin(ArtifactRow, (ArtifactRow.job_id == JobRow.id) & (ArtifactRow.name == bindparam("name")))
    .where(JobRow.id == bindparam("job_id"), JobRow.tenant_id == bindparam("tenant_id"))
)


@dataclass(frozen=True)
class NewArtifact:
    """A result whose bytes are in the store already."""

    name: str
    media_type: str
    stored: StoredObject


@dataclass(frozen=True)
class StoredArtifact:
    """A file of a job that succeeded, as SQL knows it."""

    name: str
    media_type: str
    key: str
    size_bytes: int
    sha256: str


def succeed(
    session: Session,
    claim: Claim,
    *,
    metrics: dict[str, Any],
    stop_reason: StopReason,
    parameters: int,
    artifacts: Sequence[NewArtifact],
    exact_resume: bool = True,
) -> list[str]:
    """End a job with its results and return the keys of its checkpoints, to be deleted after the commit.

    ``exact_resume`` says whether the weights are, to the bit, those of a training that was never interrupted.

    Raises:
        LeaseLostError: A newer attempt exists, or the job was cancelled meanwhile: nothing is written.
    """
    leave(
        session,
        claim,
        after=JobStatus.SUCCEEDED,
        reason=str(stop_reason),
        metrics=metrics,
        stop_reason=stop_reason,
        parameters=parameters,
        progress=_whole(session, claim),
        error=None,
    )
    now = read_clock(session)
    for artifact in artifacts:
        session.add(
            ArtifactRow(
                job_id=claim.job_id,
                name=artifact.name,
                attempt=claim.attempt,
                media_type=artifact.media_type,
                key=artifact.stored.key,
                size_bytes=artifact.stored.size_bytes,
                sha256=artifact.stored.sha256,
                created_at=now,
            )
        )
    end_attempt(session, claim.job_id, claim.attempt, end=AttemptEnd.SUCCEEDED)
    session.get_one(JobAttemptRow, (claim.job_id, claim.attempt)).exact_resume = exact_resume
    return drop_checkpoints(session, claim.job_id)


def fail(session: Session, claim: Claim, *, code: str, detail: str) -> None:
    """End a job that cannot succeed whoever tries again; its last checkpoint stays.

    Raises:
        LeaseLostError: A newer attempt exists, or the job has ended meanwhile.
    """
    leave(session, claim, after=JobStatus.FAILED, reason=code, error={"code": code, "detail": detail})
    end_attempt(session, claim.job_id, claim.attempt, end=AttemptEnd.FAILED, detail=f"{code}: {detail}")


def _whole(session: Session, claim: Claim) -> dict[str, Any]:
    progress = session.scalar(select(JobRow.progress).where(JobRow.id == claim.job_id)) or {}
    return {**progress, "fraction": 1.0, "eta_seconds": 0.0}


def list_artifacts(session: Session, tenant_id: str, job_id: str) -> list[ArtifactRow]:
    """Return a job's artifacts by name.

    Raises:
        NotFoundError: No such job for this tenant.
        ConflictError: ``job_not_succeeded``.
    """
    job = get_job(session, tenant_id, job_id)
    _require_success(job.status)
    return list(session.scalars(select(ArtifactRow).where(ArtifactRow.job_id == job_id).order_by(ArtifactRow.name)))


def get_artifact(reader: Reader, tenant_id: str, job_id: str, name: str) -> StoredArtifact:
    """Return one artifact; errors as `list_artifacts`, and `NotFoundError` for a name that is not there."""
    found = _ARTIFACT.ask(reader, tenant_id=tenant_id, job_id=job_id, name=name)
    if found is None:
        raise NotFoundError("There is no such job.", code="job_not_found")
    status, *columns = found
    _require_success(status)
    if columns[0] is None:
        raise NotFoundError("The job has no artifact of that name.", code="artifact_not_found")
    return StoredArtifact(*columns)


def _require_success(status: str) -> None:
    if status != JobStatus.SUCCEEDED:
        raise ConflictError(f"The job is {status}; it has results once it has succeeded.", code="job_not_succeeded")
