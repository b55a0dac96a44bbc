"""Tenants and how much they may use; for administrators."""

from collections.abc import Iterator, Mapping

from client.answers import PAGE_ITEMS, follow, parse, to_segment
from client.errors import InputError
from client.transport import Call, Transport
from client.types import Page, Tenant, TenantQuota


class Tenants:
    """Tenants: whose keys, datasets and jobs there are."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str) -> Tenant:
        """Make a tenant; `ConflictError` where one is called so."""
        return parse(Tenant, self._transport.fetch(Call("POST", "/tenants", json={"name": name}, creates=True)))

    def list(self, *, limit: int = 50, cursor: str | None = None, name: str | None = None) -> Page[Tenant]:
        """Return one page of tenants, newest first; with ``name`` the one that is called so."""
        params = {"limit": limit, "cursor": cursor, "name": name}
        return parse(Page[Tenant], self._transport.fetch(Call("GET", "/tenants", params=params)))

    def iterate(self) -> Iterator[Tenant]:
        """Yield every tenant, newest first."""
        return follow(lambda cursor: self.list(limit=PAGE_ITEMS, cursor=cursor))

    def get(self, tenant_id: str) -> Tenant:
        """Return a tenant."""
        return parse(Tenant, self._transport.fetch(Call("GET", f"/tenants/{to_segment(tenant_id)}")))

    def find(self, name: str) -> Tenant:
        """Return the tenant of a name; raises `InputError` where there is none."""
        found = self.list(name=name).items
        if not found:
            raise InputError(f"There is no tenant that is called {name!r}.")
        return found[0]

    def quota(self, tenant_id: str) -> TenantQuota:
        """Return a tenant's quotas and what is used of them."""
        return parse(TenantQuota, self._transport.fetch(Call("GET", _quota_path(tenant_id))))

    def set_quota(self, tenant_id: str, limits: Mapping[str, int | str | None]) -> TenantQuota:
        """Set a tenant's quotas, all of them anew, and return them.

        Args:
            tenant_id: The tenant's.
            limits: A number or ``unlimited`` by the quota's name; what is left out is the platform's default.
        """
        return parse(TenantQuota, self._transport.fetch(Call("PUT", _quota_path(tenant_id), json=dict(limits))))


def _quota_path(tenant_id: str) -> str:
    return f"/tenants/{to_segment(tenant_id)}/quota"
