"""Turning an uploaded archive into a dataset: the worker's hold on it, and what it writes at the end."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.exc import IntegrityError as DuplicateError
from sqlalchemy.orm import Session

from core.db.engine import read_clock
from core.db.json_rows import insert_json
from core.db.rows import DatasetEntryRow, DatasetRow, PackRow
from core.domain.datasets import ColorMode, DatasetStatus, Manifest, Outcome
from core.errors import DatasetRejectedError
from core.services.fences import write_held
from core.storage.store import StoredObject

_ENTRIES_AT_ONCE = 5000
_MOST_FAULTS = 1000


@dataclass(frozen=True)
class DatasetClaim:
    """A dataset that this worker reads; ``attempt`` is the fencing token."""

    dataset_id: str
    tenant_id: str
    archive_key: str
    sha256: str
    attempt: int
    worker: str
    request_id: str | None


def claim_dataset(session: Session, *, worker: str, lease_seconds: float, max_attempts: int) -> DatasetClaim | None:
    """Take the oldest dataset that waits to be read, or whose reader was lost; ``None`` where none waits."""
    now = read_clock(session)
    row = session.scalar(
        select(DatasetRow)
        .where(
            DatasetRow.status == DatasetStatus.PROCESSING,
            DatasetRow.attempt < max_attempts,
            or_(DatasetRow.lease_expires_at.is_(None), DatasetRow.lease_expires_at < now),
        )
        .order_by(DatasetRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if row is None:
        return None
    row.attempt += 1
    row.worker, row.updated_at, row.lease_expires_at = worker, now, now + timedelta(seconds=lease_seconds)
    return DatasetClaim(row.id, row.tenant_id, row.archive_key, row.sha256, row.attempt, worker, row.request_id)


def write_dataset(session: Session, claim: DatasetClaim, **values: Any) -> None:
    """Write columns of the dataset, only while this attempt holds it.

    Raises:
        LeaseLostError: Another reader has it, it was deleted, or it is read already.
    """
    write_held(session, DatasetRow, claim.dataset_id, claim, status=DatasetStatus.PROCESSING, values=values)


def renew_dataset(session: Session, claim: DatasetClaim, *, lease_seconds: float) -> None:
    """Extend the lease; raises `LeaseLostError`."""
    write_dataset(session, claim, lease_expires_at=read_clock(session) + timedelta(seconds=lease_seconds))


def accept_dataset(
    session: Session,
    claim: DatasetClaim,
    *,
    manifest: Manifest,
    ledger: Iterable[str],
    pack: StoredObject,
    image_size: int,
    preview_key: str,
) -> None:
    """Make a dataset ``ready`` with its manifest, ledger, first pack and preview; raises `LeaseLostError`.

    Of the ledger the lines are given, as `core.datasets.ledger.write_ledger` writes them.
    """
    write_dataset(
        session,
        claim,
        status=DatasetStatus.READY,
        lease_expires_at=None,
        manifest=manifest.model_dump(mode="json"),
        preview_key=preview_key,
    )
    _write_ledger(session, claim.dataset_id, ledger)
    record_pack(session, claim.dataset_id, pack, image_size=image_size, color_mode=manifest.color_mode)


def reject_dataset(
    session: Session,
    claim: DatasetClaim,
    error: DatasetRejectedError,
    *,
    ledger: Iterable[str],
) -> None:
    """Make a dataset ``rejected``, keeping every reason and what the ledger knows, by its lines.

    Raises:
        LeaseLostError: As `write_dataset`.
    """
    write_dataset(
        session,
        claim,
        status=DatasetStatus.REJECTED,
        lease_expires_at=None,
        error={
            "code": error.code,
            "detail": error.detail,
            "errors": [{"pointer": fault.pointer, "detail": fault.detail} for fault in error.faults[:_MOST_FAULTS]],
        },
    )
    _write_ledger(session, claim.dataset_id, ledger)


def _write_ledger(session: Session, dataset_id: str, ledger: Iterable[str]) -> None:
    """Write every entry, and how many there are of each outcome."""
    table, lines = DatasetEntryRow.metadata.tables[DatasetEntryRow.__tablename__], iter(ledger)
    while batch := list(islice(lines, _ENTRIES_AT_ONCE)):
        session.execute(insert_json(session, table, batch, dataset_id=dataset_id))
    outcome = DatasetEntryRow.outcome
    counted = session.execute(
        select(outcome, func.count()).where(DatasetEntryRow.dataset_id == dataset_id).group_by(outcome)
    )
    entries = dict.fromkeys(Outcome, 0) | {Outcome(name): count for name, count in counted}
    session.execute(update(DatasetRow).where(DatasetRow.id == dataset_id).values(entries=entries))


def find_pack(session: Session, dataset_id: str, *, image_size: int, color_mode: ColorMode) -> PackRow | None:
    """Return the pack of a dataset for an image size and colour mode, where it was made already."""
    return session.get(PackRow, (dataset_id, image_size, color_mode))


def record_pack(
    session: Session, dataset_id: str, pack: StoredObject, *, image_size: int, color_mode: ColorMode
) -> None:
    """Make a pack exist; where another worker was faster, its equal pack stays."""
    if find_pack(session, dataset_id, image_size=image_size, color_mode=color_mode) is not None:
        return
    row = PackRow(
        dataset_id=dataset_id,
        image_size=image_size,
        color_mode=color_mode,
        digest=pack.sha256,
        key=pack.key,
        size_bytes=pack.size_bytes,
        created_at=read_clock(session),
    )
    with suppress(DuplicateError), session.begin_nested():  # Another host was faster since.
        session.add(row)
