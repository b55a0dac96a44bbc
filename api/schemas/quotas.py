"""Quotas, as an administrator sets them and answers show them."""

from typing import Annotated, Literal

from pydantic import Field

from api.schemas.base import LARGEST_INTEGER, Shape, Wanted
from core.domain.quotas import QUOTAS, UNLIMITED, Limits, Quota

_Limit = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)] | Literal["unlimited"] | None
# With none nobody could ask for more, not even the administrator who has set it.
_Rate = Annotated[int, Field(ge=1, le=LARGEST_INTEGER)] | Literal["unlimited"] | None
_STORED = "Bytes of archives, packs, checkpoints and results together."
_DATASETS = "Datasets, rejected ones too."
_QUEUED = "Jobs that wait."
_RUNNING = "Jobs that train at once; the others wait, and `status_reason` says so."
_SECONDS = "Seconds that trainings hold slots within a day in UTC; then jobs wait, and no more are taken."
_REQUESTS = "Requests of all the tenant's keys."


class QuotaRequest(Wanted):
    """The quotas of a tenant, all of them: a number, `unlimited`, or null or nothing for the platform's default."""

    stored_bytes: Annotated[_Limit, Field(description=_STORED)] = None
    datasets: Annotated[_Limit, Field(description=_DATASETS)] = None
    queued_jobs: Annotated[_Limit, Field(description=_QUEUED)] = None
    running_jobs: Annotated[_Limit, Field(description=_RUNNING)] = None
    device_seconds_per_day: Annotated[_Limit, Field(description=_SECONDS)] = None
    requests_per_minute: Annotated[_Rate, Field(description=_REQUESTS)] = None

    def to_own(self) -> dict[Quota, int | None]:
        """Return what is stored of it."""
        given = {quota: getattr(self, quota) for quota in QUOTAS}
        return {quota: UNLIMITED if limit == "unlimited" else limit for quota, limit in given.items()}


def show_own(own: dict[Quota, int | None]) -> dict[str, int | str]:
    """Return the quotas that were set for a tenant as `QuotaRequest` has them."""
    return {quota: "unlimited" if limit >= UNLIMITED else limit for quota, limit in own.items() if limit is not None}


class QuotaState(Shape):
    """One quota: its bound, and how much of it is used."""

    limit: Annotated[int | None, Field(description="Null: no limit.")]
    used: int
    own: Annotated[bool, Field(description="Whether it was set for this tenant; else it is the platform's default.")]


class TenantQuota(Shape):
    """The quotas of a tenant and what is used of them."""

    tenant_id: str
    stored_bytes: Annotated[QuotaState, Field(description=_STORED)]
    datasets: Annotated[QuotaState, Field(description=_DATASETS)]
    queued_jobs: Annotated[QuotaState, Field(description=_QUEUED)]
    running_jobs: Annotated[QuotaState, Field(description=_RUNNING)]
    device_seconds_per_day: Annotated[QuotaState, Field(description=_SECONDS)]
    requests_per_minute: Annotated[QuotaState, Field(description=_REQUESTS)]


def shape_quota(tenant_id: str, limits: Limits, own: dict[Quota, int | None], used: dict[Quota, int]) -> TenantQuota:
    """Return a tenant's quotas as answers show them."""
    states = {
        quota: QuotaState(
            limit=None if limits[quota] >= UNLIMITED else limits[quota],
            used=used[quota],
            own=own[quota] is not None,
        )
        for quota in QUOTAS
    }
    return TenantQuota(tenant_id=tenant_id, **states)
