"""The audit trail: who did what to which resource, or tried to. It is written beside the change, and never changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.engine import database_now
from core.db.rows import AuditRow
from core.domain.identifiers import new_id
from core.services.paging import Page, read_page

Outcome = Literal["done", "refused"]


@dataclass(frozen=True)
class Actor:
    """Who acts: a key of a tenant, by a request."""

    tenant_id: str
    key_id: str
    request_id: str | None


def record(
    session: Session,
    actor: Actor,
    action: str,
    resource_id: str | None,
    *,
    outcome: Outcome = "done",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Note an action in the transaction of its change.

    Args:
        session: The transaction: where it is rolled back, nothing was done and nothing is noted.
        actor: Who acts.
        action: The kind of resource and the verb, such as ``job.cancel``.
        resource_id: What it is done to; ``None`` where there is nothing with an id.
        outcome: Whether it was done, or refused.
        detail: What else must be known; never a secret.
    """
    session.add(
        AuditRow(
            id=new_id("audit"),
            at=database_now(),
            tenant_id=actor.tenant_id,
            key_id=actor.key_id,
            request_id=actor.request_id,
            action=action,
            resource_id=resource_id,
            outcome=outcome,
            detail=dict(detail) if detail else None,
        )
    )


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which events are wanted; ``None`` leaves one open. ``since`` is included, ``until`` is not."""

    tenant_id: str | None = None
    key_id: str | None = None
    action: str | None = None
    resource_id: str | None = None
    request_id: str | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_events(session: Session, wanted: Filter, *, limit: int, cursor: str | None = None) -> Page[AuditRow]:
    """Return a page of the events of every tenant that a filter lets through, newest first."""
    query = select(AuditRow)
    for name in ("tenant_id", "key_id", "action", "resource_id", "request_id", "outcome"):
        if (value := getattr(wanted, name)) is not None:
            query = query.where(getattr(AuditRow, name) == value)
    if wanted.since is not None:
        query = query.where(AuditRow.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuditRow.at < wanted.until)
    return read_page(session, query, AuditRow.id, limit=limit, cursor=cursor)
