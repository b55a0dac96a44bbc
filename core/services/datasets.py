"""What users do with datasets: upload, look, delete."""

from typing import Literal

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError as DuplicateError
from sqlalchemy.orm import Session

from core.db.engine import read_clock
from core.db.rows import DatasetEntryRow, DatasetRow, JobRow, PackRow
from core.domain.datasets import INGEST_FAILED, DatasetStatus, Manifest, Outcome
from core.domain.jobs import ENDED
from core.domain.quotas import NO_LIMITS, Limits
from core.errors import ConflictError, NotFoundError
from core.services.messages import WakeUp, ingest_message
from core.services.paging import Page, read_page
from core.services.quotas import check_room
from core.services.uses import refuse_dataset_deletion
from core.storage.store import StoredObject

_ENTRIES_AT_ONCE = 100_000


def register_dataset(
    session: Session,
    tenant_id: str,
    dataset_id: str,
    *,
    name: str,
    archive: StoredObject,
    request_id: str | None,
    limits: Limits = NO_LIMITS,
) -> tuple[DatasetRow, list[WakeUp]]:
    """Store the row of an archive whose bytes are in the store, as ``processing``.

    ``limits`` are those of a tenant that has none of its own.

    Returns:
        The dataset with the wake-ups to send after the commit. Where the tenant has the same bytes already, that
        dataset and no wake-up: the caller deletes the new copy. One that was rejected since nobody came to an end with
        reading it gives way to the new one.

    Raises:
        QuotaExceededError: The tenant has as many datasets, or as many bytes, as it may.
    """
    same_bytes = select(DatasetRow).where(DatasetRow.tenant_id == tenant_id, DatasetRow.sha256 == archive.sha256)
    present = session.scalar(same_bytes)
    if present is not None and _was_left_unread(present):
        check_room(session, tenant_id, limits, {})  # The tenant's row comes first, as where a job is submitted.
        _delete_rows(session, present.id)
    elif present is not None:
        return present, []
    check_room(session, tenant_id, limits, {"datasets": 1, "stored_bytes": archive.size_bytes})
    now = read_clock(session)
    row = DatasetRow(
        id=dataset_id,
        tenant_id=tenant_id,
        name=name,
        status=DatasetStatus.PROCESSING,
        size_bytes=archive.size_bytes,
        sha256=archive.sha256,
        archive_key=archive.key,
        attempt=0,
        request_id=request_id,
        created_at=now,
        updated_at=now,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except DuplicateError:  # Another request was faster with the same bytes.
        return session.scalars(same_bytes).one(), []
    return row, [ingest_message(dataset_id)]


def get_dataset(
    session: Session, tenant_id: str, dataset_id: str, *, lock: Literal["share", "update"] | None = None
) -> DatasetRow:
    """Return a dataset of a tenant; raises `NotFoundError`.

    A lock keeps it from being deleted (``share``) or used (``update``) until the transaction ends.
    """
    row = session.get(
        DatasetRow, dataset_id, populate_existing=True, with_for_update=lock and {"read": lock == "share"}
    )
    if row is None or row.tenant_id != tenant_id:
        raise NotFoundError("There is no such dataset.", code="dataset_not_found")
    return row


def require_ready(dataset: DatasetRow) -> Manifest:
    """Return what a dataset holds; raises `ConflictError`: ``dataset_rejected`` or ``dataset_not_ready``."""
    if dataset.status == DatasetStatus.REJECTED:
        raise ConflictError("The dataset was rejected; its error tells why.", code="dataset_rejected")
    if dataset.status != DatasetStatus.READY:
        raise ConflictError("The dataset is still being read; wait until it is ready.", code="dataset_not_ready")
    return Manifest.model_validate(dataset.manifest)


def list_datasets(session: Session, tenant_id: str, *, limit: int, cursor: str | None = None) -> Page[DatasetRow]:
    """Return a page of a tenant's datasets, newest first."""
    query = select(DatasetRow).where(DatasetRow.tenant_id == tenant_id)
    return read_page(session, query, DatasetRow.id, limit=limit, cursor=cursor)


def list_entries(
    session: Session, dataset_id: str, *, outcome: Outcome | None, limit: int, after: int
) -> list[DatasetEntryRow]:
    """Return entries of the ledger in the archive's order, from the position after ``after``."""
    query = select(DatasetEntryRow).where(DatasetEntryRow.dataset_id == dataset_id, DatasetEntryRow.position > after)
    if outcome is not None:
        query = query.where(DatasetEntryRow.outcome == outcome)
    return list(session.scalars(query.order_by(DatasetEntryRow.position).limit(limit)))


def delete_dataset(session: Session, tenant_id: str, dataset_id: str) -> None:
    """Delete a dataset's rows; its objects are deleted after the commit. Jobs that have ended keep their results.

    Raises:
        ConflictError: ``dataset_in_use`` while a job or an evaluation that has not ended uses it.
    """
    get_dataset(session, tenant_id, dataset_id, lock="update")
    in_use = select(JobRow.id).where(JobRow.dataset_id == dataset_id, JobRow.status.not_in(ENDED)).limit(1)
    if session.scalar(in_use) is not None:
        raise ConflictError("A job that has not ended uses the dataset.", code="dataset_in_use")
    refuse_dataset_deletion(session, dataset_id)
    _delete_rows(session, dataset_id)


def _was_left_unread(dataset: DatasetRow) -> bool:
    """Return whether the platform, not the archive, is at fault that it was rejected."""
    return dataset.status == DatasetStatus.REJECTED and (dataset.error or {}).get("code") == INGEST_FAILED


def _delete_rows(session: Session, dataset_id: str) -> None:
    _delete_ledger(session, dataset_id)
    session.execute(delete(PackRow).where(PackRow.dataset_id == dataset_id))
    session.execute(delete(DatasetRow).where(DatasetRow.id == dataset_id))


def _delete_ledger(session: Session, dataset_id: str) -> None:
    """Delete a million rows at most in pieces: each statement must end within a request's patience."""
    own = DatasetEntryRow.dataset_id == dataset_id
    last = session.scalar(select(func.max(DatasetEntryRow.position)).where(own))
    for first in range(0, -1 if last is None else last + 1, _ENTRIES_AT_ONCE):
        piece = DatasetEntryRow.position.between(first, first + _ENTRIES_AT_ONCE - 1)
        session.execute(delete(DatasetEntryRow).where(own, piece))
