"""Keys, tenants, quotas and the audit trail for people."""

import json
from collections.abc import Sequence

from rich.console import RenderableType

from client.measures import duration, moment, size
from client.render import table
from client.types import AuditEvent, Key, QuotaState, Tenant, TenantQuota

_SHOWN = {"stored_bytes": size, "device_seconds_per_day": duration}


def key_table(keys: Sequence[Key]) -> RenderableType:
    """Return keys, without secrets."""
    return table(
        ["key", "name", "tenant", "scopes", "made", "ends", "last used"],
        [
            [
                *(one.id, one.name, one.tenant, ", ".join(one.scopes)),
                *(moment(one.created_at), moment(one.expires_at), moment(one.last_used_at)),
            ]
            for one in keys
        ],
    )


def tenant_table(tenants: Sequence[Tenant]) -> RenderableType:
    """Return tenants."""
    return table(["tenant", "name", "made"], [[one.id, one.name, moment(one.created_at)] for one in tenants])


def quota_table(quota: TenantQuota) -> RenderableType:
    """Return a tenant's quotas and what is used of them."""
    return table(
        ["quota", "used", "limit", "set for"],
        [
            [name.replace("_", " "), _amount(name, state.used), _limit(name, state), _whom(state)]
            for name, state in quota.states().items()
        ],
    )


def audit_table(events: Sequence[AuditEvent]) -> RenderableType:
    """Return events of the audit trail."""
    return table(
        ["when", "action", "of", "outcome", "tenant", "key", "request", "detail"],
        [
            [
                *(moment(one.at), one.action, one.resource_id, one.outcome, one.tenant_id, one.key_id, one.request_id),
                json.dumps(one.detail, ensure_ascii=False) if one.detail else None,
            ]
            for one in events
        ],
    )


def _amount(name: str, amount: int) -> str | None:
    return _SHOWN[name](amount) if name in _SHOWN else f"{amount:,}"


def _limit(name: str, state: QuotaState) -> str | None:
    return "unlimited" if state.limit is None else _amount(name, state.limit)


def _whom(state: QuotaState) -> str:
    return "this tenant" if state.own else "all tenants"
