"""Pages of lists, newest first: ids grow with time, so the last id of a page is where the next begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

Item = TypeVar("Item")


@dataclass(frozen=True)
class Page(Generic[Item]):
    """Items of one page, and where the next one begins (``None``: there is none)."""

    items: Sequence[Item]
    next_cursor: str | None


def read_page(
    session: Session,
    query: Select[Item],
    identity: InstrumentedAttribute[str],
    *,
    limit: int,
    cursor: str | None,
) -> Page[Item]:
    """Return the page of ``query`` that begins after ``cursor``, newest first."""
    if cursor is not None:
        query = query.where(identity < cursor)
    rows: list[Any] = list(session.scalars(query.order_by(identity.desc()).limit(limit + 1)))
    more = len(rows) > limit
    return Page(rows[:limit], getattr(rows[limit - 1], identity.key) if more else None)
