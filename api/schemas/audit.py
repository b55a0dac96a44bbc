"""The audit trail, as answers show it."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from api.schemas.base import Id, Moment, PageQuery, Shape
from core.db.rows import AuditRow
from core.services.audit import Filter

_Text = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class AuditQuery(PageQuery):
    """Which events; what is left out is open."""

    tenant_id: Annotated[Id | None, Field(description="Of the tenant that acted.")] = None
    key_id: Annotated[Id | None, Field(description="Of the key that acted.")] = None
    action: Annotated[
        str | None,
        Field(pattern=r"^[a-z_]+\.[a-z_]+$", max_length=40, description="Such as `job.cancel` or `key.create`."),
    ] = None
    resource_id: Annotated[_Text | None, Field(description="Of what it was done to.")] = None
    request_id: Annotated[_Text | None, Field(description="Of the request that did it.")] = None
    outcome: Annotated[Literal["done", "refused"] | None, Field(description="`done` or `refused`.")] = None
    since: Annotated[AwareDatetime | None, Field(description="Not before this moment.")] = None
    until: Annotated[AwareDatetime | None, Field(description="Before this moment.")] = None

    def to_filter(self) -> Filter:
        """Return what the trail is asked for."""
        return Filter(**self.model_dump(exclude={"limit", "cursor"}))


class AuditEvent(Shape):
    """Who did what to which resource, or tried to."""

    id: str
    at: Moment
    tenant_id: Annotated[str, Field(description="The tenant that acted.")]
    key_id: Annotated[str, Field(description="The key that acted.")]
    request_id: Annotated[str | None, Field(description="The request that did it, as in the logs.")]
    action: Annotated[str, Field(description="The kind of resource and what was done to it.")]
    resource_id: str | None
    outcome: Annotated[str, Field(description="`done`, or `refused` to one who may not, or in a way that may not be.")]
    detail: Annotated[dict[str, Any] | None, Field(description="What else is known; never a secret.")]


def shape_event(row: AuditRow) -> AuditEvent:
    """Return an event as answers show it."""
    names = ("id", "at", "tenant_id", "key_id", "request_id", "action", "resource_id", "outcome", "detail")
    return AuditEvent(**{name: getattr(row, name) for name in names})
