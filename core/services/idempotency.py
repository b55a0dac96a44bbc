"""Idempotency keys: the same key and request gets the first answer again, never a second resource."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import IntegrityError as DuplicateError
from sqlalchemy.orm import Session

from core.db.engine import read_clock
from core.db.rows import IdempotencyRow
from core.errors import ConflictError, InvalidError


@dataclass(frozen=True)
class Answer:
    """An answer to give again."""

    status: int
    body: dict[str, Any]
    location: str | None


def recall(session: Session, tenant_id: str, key: str, fingerprint: str) -> Answer | None:
    """Return the first answer for a key, or take the key for this request and return ``None``.

    The caller stores its answer in the same transaction, so that the key and the resource exist together.

    Raises:
        InvalidError: ``idempotency_key_reused`` for another request.
        ConflictError: The first request with this key is still being answered.
    """
    row = session.get(IdempotencyRow, (tenant_id, key))
    if row is None:
        _take(session, tenant_id, key, fingerprint)
        return None
    if row.fingerprint != fingerprint:
        raise InvalidError("The idempotency key was used for another request.", code="idempotency_key_reused")
    return Answer(row.status or 200, row.body or {}, row.location)


def _take(session: Session, tenant_id: str, key: str, fingerprint: str) -> None:
    session.add(IdempotencyRow(tenant_id=tenant_id, key=key, fingerprint=fingerprint, created_at=read_clock(session)))
    try:
        session.flush()
    except DuplicateError as error:
        raise ConflictError(
            "A request with this idempotency key is being answered; try again.", code="idempotency_key_in_use"
        ) from error


def remember(session: Session, tenant_id: str, key: str, answer: Answer) -> None:
    """Keep the answer for a key that `recall` took in this transaction."""
    row = session.get_one(IdempotencyRow, (tenant_id, key))
    row.status, row.body, row.location = answer.status, answer.body, answer.location
