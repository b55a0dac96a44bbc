"""API keys, as an administrator asks for them and answers show them."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from api.schemas.base import Moment, Name, PageQuery, Shape, Wanted
from core.db.rows import ApiKeyRow
from core.services.keys import Scope


class KeyRequest(Wanted):
    """A key that is asked for."""

    name: Annotated[Name, Field(description="What it is for.")]
    scopes: Annotated[
        list[Scope],
        Field(min_length=1, max_length=3, description="`train` includes `read`, `admin` includes both."),
    ]
    tenant: Annotated[Name | None, Field(description="Whose key it is, by name; left out: one's own tenant.")] = None
    expires_at: Annotated[AwareDatetime | None, Field(strict=False, description="When it ends; left out: never.")] = (
        None
    )


class KeyQuery(PageQuery):
    """Which keys."""

    tenant: Annotated[Name | None, Field(description="Only those of the tenant that is called so.")] = None


class Key(Shape):
    """A key, without its secret."""

    id: str
    name: str
    scopes: list[Scope]
    tenant: Annotated[str, Field(description="Whose it is, by name.")]
    tenant_id: str
    created_at: Moment
    expires_at: Moment | None
    last_used_at: Annotated[Moment | None, Field(description="To the minute; null: never.")]


class NewKey(Key):
    """A key that was just made."""

    secret: Annotated[str | None, Field(description="Shown this once; null where an answer is given again.")]


def shape_key(row: ApiKeyRow, *, tenant: str) -> Key:
    """Return a key as answers show it."""
    return Key(
        id=row.id,
        name=row.name,
        scopes=row.scopes,
        tenant=tenant,
        tenant_id=row.tenant_id,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )


def shape_new_key(row: ApiKeyRow, *, tenant: str, secret: str | None) -> NewKey:
    """Return a key with its secret."""
    return NewKey(**shape_key(row, tenant=tenant).model_dump(), secret=secret)
