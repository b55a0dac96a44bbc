"""Tenants, as an administrator makes them and answers show them."""

from typing import Annotated

from pydantic import Field

from api.schemas.base import Moment, Name, PageQuery, Shape, Wanted
from core.db.rows import TenantRow


class TenantRequest(Wanted):
    """A tenant that is asked for."""

    name: Annotated[Name, Field(description="What it is called; no other tenant may be called so.")]


class TenantQuery(PageQuery):
    """Which tenants."""

    name: Annotated[Name | None, Field(description="Only the one that is called so.")] = None


class Tenant(Shape):
    """Whose keys, datasets and jobs are one's own."""

    id: str
    name: str
    created_at: Moment


def shape_tenant(row: TenantRow) -> Tenant:
    """Return a tenant as answers show it."""
    return Tenant(id=row.id, name=row.name, created_at=row.created_at)
