"""The end of a training: its artifacts become visible in one transaction, or its failure is recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from core.db.engine import read_clock
from core.db.rows import ArtifactRow, JobRow
from core.domain.jobs import AttemptEnd, JobStatus, StopReason
from core.errors import ConflictError, LeaseLostError, NotFoundError
from core.services.claims import Claim, end_attempt
from core.services.jobs import get_job
from core.services.progress import drop_checkpoints
from core.services.transitions import change_status
from core.storage.store import StoredObject

# Every prediction asks this, so it is one statement, put together once.
_ARTIFACT = (
    select(ArtifactRow)
    .join(JobRow, JobRow.id == ArtifactRow.job_id)
    .where(
        JobRow.tenant_id == bindparam("tenant_id"),
        JobRow.status == JobStatus.SUCCEEDED,
        ArtifactRow.job_id == bindparam("job_id"),
        ArtifactRow.name == bindparam("name"),
    )
)


@dataclass(frozen=True)
class NewArtifact:
    """A result whose bytes are in the store already."""

    name: str
    media_type: str
    stored: StoredObject


def succeed(
    session: Session,
    claim: Claim,
    *,
    metrics: dict[str, Any],
    stop_reason: StopReason,
    parameters: int,
    artifacts: Sequence[NewArtifact],
) -> list[str]:
    """End a job with its results and return the keys of its checkpoints, to be deleted after the commit.

    Raises:
        LeaseLostError: A newer attempt exists, or the job was cancelled meanwhile: nothing is written.
    """
    _end(
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
    return drop_checkpoints(session, claim.job_id)


def fail(session: Session, claim: Claim, *, code: str, detail: str) -> None:
    """End a job that cannot succeed whoever tries again; its last checkpoint stays.

    Raises:
        LeaseLostError: A newer attempt exists, or the job has ended meanwhile.
    """
    _end(session, claim, after=JobStatus.FAILED, reason=code, error={"code": code, "detail": detail})
    end_attempt(session, claim.job_id, claim.attempt, end=AttemptEnd.FAILED, detail=f"{code}: {detail}")


def _end(session: Session, claim: Claim, *, after: JobStatus, reason: str, **values: Any) -> None:
    changed = change_status(
        session,
        claim.job_id,
        before=JobStatus.RUNNING,
        after=after,
        actor=claim.worker,
        reason=reason,
        fence=claim.attempt,
        **values,
    )
    if changed is None:
        raise LeaseLostError(f"Attempt {claim.attempt} of {claim.job_id} holds it no longer.")


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
    if job.status != JobStatus.SUCCEEDED:
        raise ConflictError(f"The job is {job.status}; it has results once it has succeeded.", code="job_not_succeeded")
    return list(session.scalars(select(ArtifactRow).where(ArtifactRow.job_id == job_id).order_by(ArtifactRow.name)))


def get_artifact(session: Session, tenant_id: str, job_id: str, name: str) -> ArtifactRow:
    """Return one artifact; errors as `list_artifacts`, and `NotFoundError` for a name that is not there."""
    artifact = session.scalar(_ARTIFACT, {"tenant_id": tenant_id, "job_id": job_id, "name": name})
    if artifact is None:
        list_artifacts(session, tenant_id, job_id)  # Where it is the job that is amiss, this says so.
        raise NotFoundError("The job has no artifact of that name.", code="artifact_not_found")
    return artifact
