"""Evaluations: a stored model looked at on other images; the worker's hold on one, and what it writes at the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from core.db.engine import read_clock
from core.db.rows import DatasetRow, EvaluationRow
from core.domain.evaluations import EvaluationStatus, Part
from core.domain.identifiers import new_id
from core.errors import Fault, InvalidError, NotFoundError
from core.services.datasets import get_dataset, require_ready
from core.services.fences import write_held
from core.services.jobs import get_job
from core.services.messages import WakeUp, evaluate_message
from core.services.paging import Page, read_page
from core.storage.store import StoredObject


@dataclass(frozen=True)
class EvaluationClaim:
    """An evaluation that this worker holds; ``attempt`` is the fencing token."""

    evaluation_id: str
    tenant_id: str
    job_id: str
    dataset_id: str
    part: Part
    attempt: int
    worker: str
    request_id: str | None


def submit_evaluation(
    session: Session,
    tenant_id: str,
    job_id: str,
    dataset_id: str,
    *,
    part: Part,
    classes: Sequence[str],
    request_id: str | None,
) -> tuple[EvaluationRow, list[WakeUp]]:
    """Store an evaluation as ``queued`` and return it with the wake-ups to send after the commit.

    Args:
        session: The open transaction.
        tenant_id: Whose it is.
        job_id: A job that has succeeded.
        dataset_id: A dataset that is ready.
        part: Which of its images.
        classes: The model's class names.
        request_id: Of the request that asks for it.

    Raises:
        NotFoundError: The job or the dataset is not this tenant's.
        ConflictError: ``dataset_not_ready`` or ``dataset_rejected``.
        InvalidError: ``incompatible_dataset``: it has other classes, each named, or no image in that part.
    """
    get_job(session, tenant_id, job_id, lock=True)  # It cannot be deleted meanwhile.
    dataset = get_dataset(session, tenant_id, dataset_id, lock="share")
    _check_dataset(dataset, part, classes)
    now = read_clock(session)
    row = EvaluationRow(
        id=new_id("eval"),
        tenant_id=tenant_id,
        job_id=job_id,
        dataset_id=dataset_id,
        split=part,
        status=EvaluationStatus.QUEUED,
        attempt=0,
        attempts_lost=0,
        request_id=request_id,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    session.flush()
    return row, [evaluate_message(row.id)]


def _check_dataset(dataset: DatasetRow, part: Part, classes: Sequence[str]) -> None:
    manifest = require_ready(dataset)
    faults = [Fault("/dataset_id", f"lacks the class {name!r}") for name in classes if name not in manifest.classes]
    faults += [
        Fault("/dataset_id", f"has the class {name!r}, which the model lacks")
        for name in manifest.classes
        if name not in classes
    ]
    if faults:
        raise InvalidError("The dataset has other classes than the model.", code="incompatible_dataset", faults=faults)
    if part != "all" and not manifest.images_in(part):
        fault = Fault("/split", f"the dataset has no {part} images")
        raise InvalidError("There is nothing to look at.", code="incompatible_dataset", faults=[fault])


def get_evaluation(session: Session, tenant_id: str, evaluation_id: str) -> EvaluationRow:
    """Return an evaluation of a tenant; raises `NotFoundError`."""
    row = session.get(EvaluationRow, evaluation_id, populate_existing=True)
    if row is None or row.tenant_id != tenant_id:
        raise NotFoundError("There is no such evaluation.", code="evaluation_not_found")
    return row


def list_evaluations(
    session: Session, tenant_id: str, *, job_id: str | None, limit: int, cursor: str | None = None
) -> Page[EvaluationRow]:
    """Return a page of a tenant's evaluations, of one job where it is named, newest first."""
    query = select(EvaluationRow).where(EvaluationRow.tenant_id == tenant_id)
    if job_id is not None:
        query = query.where(EvaluationRow.job_id == get_job(session, tenant_id, job_id).id)
    return read_page(session, query, EvaluationRow.id, limit=limit, cursor=cursor)


def delete_evaluation(session: Session, tenant_id: str, evaluation_id: str) -> EvaluationRow:
    """Delete an evaluation and return what it was; a worker that is at it notices and stops. Raises `NotFoundError`.

    Its objects are deleted after the commit.
    """
    row = get_evaluation(session, tenant_id, evaluation_id)
    session.execute(delete(EvaluationRow).where(EvaluationRow.id == evaluation_id))
    return row


def claim_evaluation(session: Session, *, worker: str, lease_seconds: float) -> EvaluationClaim | None:
    """Take the oldest evaluation that waits; ``None`` where none does."""
    now = read_clock(session)
    row = session.scalar(
        select(EvaluationRow)
        .where(EvaluationRow.status == EvaluationStatus.QUEUED)
        .order_by(EvaluationRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if row is None:
        return None
    row.status, row.attempt, row.worker = EvaluationStatus.RUNNING, row.attempt + 1, worker
    row.started_at, row.updated_at = row.started_at or now, now
    row.lease_expires_at = now + timedelta(seconds=lease_seconds)
    return EvaluationClaim(
        evaluation_id=row.id,
        tenant_id=row.tenant_id,
        job_id=row.job_id,
        dataset_id=row.dataset_id,
        part=cast("Part", row.split),
        attempt=row.attempt,
        worker=worker,
        request_id=row.request_id,
    )


def _write(session: Session, claim: EvaluationClaim, **values: Any) -> None:
    write_held(session, EvaluationRow, claim.evaluation_id, claim, status=EvaluationStatus.RUNNING, values=values)


def renew_evaluation(session: Session, claim: EvaluationClaim, *, lease_seconds: float) -> None:
    """Extend the lease; raises `LeaseLostError`: another worker has it, it was deleted, or it has ended."""
    _write(session, claim, lease_expires_at=read_clock(session) + timedelta(seconds=lease_seconds))


def succeed_evaluation(
    session: Session, claim: EvaluationClaim, *, metrics: dict[str, Any], report: StoredObject
) -> None:
    """End an evaluation with its report, whose bytes are in the store; raises `LeaseLostError`."""
    _write(
        session,
        claim,
        status=EvaluationStatus.SUCCEEDED,
        metrics=metrics,
        report_key=report.key,
        report_size_bytes=report.size_bytes,
        report_sha256=report.sha256,
        lease_expires_at=None,
        finished_at=read_clock(session),
    )


def fail_evaluation(session: Session, claim: EvaluationClaim, *, code: str, detail: str) -> None:
    """End an evaluation that cannot succeed whoever tries again; raises `LeaseLostError`."""
    _write(
        session,
        claim,
        status=EvaluationStatus.FAILED,
        error={"code": code, "detail": detail},
        lease_expires_at=None,
        finished_at=read_clock(session),
    )


def release_evaluation(session: Session, claim: EvaluationClaim) -> None:
    """Give an evaluation back because the worker stops: another one takes it. Raises `LeaseLostError`."""
    _write(session, claim, status=EvaluationStatus.QUEUED, lease_expires_at=None)


def lose_evaluation(session: Session, claim: EvaluationClaim, *, code: str, detail: str, max_attempts: int) -> None:
    """End an attempt that broke: queued again, or failed where it has broken too often. Raises `LeaseLostError`."""
    row = session.get(EvaluationRow, claim.evaluation_id, populate_existing=True)
    lost = (row.attempts_lost if row else 0) + 1
    if lost >= max_attempts:
        fail_evaluation(session, claim, code=code, detail=f"In each of {lost} attempts: {detail}")
    else:
        _write(session, claim, status=EvaluationStatus.QUEUED, attempts_lost=lost, lease_expires_at=None)


def reap_evaluations(session: Session, *, max_attempts: int) -> list[str]:
    """Take every running evaluation whose lease ran out from its worker and return their ids."""
    now = read_clock(session)
    expired = EvaluationRow.id.in_(
        select(EvaluationRow.id)
        .where(EvaluationRow.status == EvaluationStatus.RUNNING, EvaluationRow.lease_expires_at < now)
        .with_for_update(skip_locked=True)
    )
    error = {"code": "worker_lost", "detail": f"The worker was lost in each of {max_attempts} attempts."}
    lost: dict[str, Any] = {
        "attempts_lost": EvaluationRow.attempts_lost + 1,
        "lease_expires_at": None,
        "updated_at": now,
    }
    failed = (
        update(EvaluationRow)
        .where(expired, EvaluationRow.attempts_lost + 1 >= max_attempts)
        .values(status=EvaluationStatus.FAILED, error=error, finished_at=now, **lost)
    )
    queued = (
        update(EvaluationRow)
        .where(expired, EvaluationRow.attempts_lost + 1 < max_attempts)
        .values(status=EvaluationStatus.QUEUED, **lost)
    )
    return [
        evaluation_id
        for statement in (failed, queued)
        for evaluation_id in session.scalars(
            statement.returning(EvaluationRow.id).execution_options(synchronize_session=False)
        )
    ]


def list_waiting(session: Session, *, limit: int) -> list[str]:
    """Return the ids of evaluations that wait for a worker, oldest first."""
    waiting = select(EvaluationRow.id).where(EvaluationRow.status == EvaluationStatus.QUEUED)
    return list(session.scalars(waiting.order_by(EvaluationRow.id).limit(limit)))
