"""Tenants and their quotas; for administrators."""

import json

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from sqlalchemy.orm import Session

from api.answers import answer, answer_again
from api.audit import note
from api.auth import BASE_PATH
from api.bodies import strict_request
from api.documents import SECURITY, TAGS, problems
from api.idempotency import Created, create
from api.paging import shape_page
from api.ports import ports
from api.routes.quota import read_quota
from api.schemas.base import Creation, Page
from api.schemas.paths import TenantPath
from api.schemas.quotas import QuotaRequest, TenantQuota, show_own
from api.schemas.tenants import Tenant, TenantQuery, TenantRequest, shape_tenant
from core.db.engine import transaction
from core.services import keys, quotas

routes = APIBlueprint(
    "tenants",
    __name__,
    url_prefix=BASE_PATH,
    abp_tags=[TAGS["tenants"]],
    abp_security=SECURITY,
    abp_responses=problems(),
)


@routes.post("/tenants", responses={**problems(409, 413), 201: Tenant})
def create_tenant(header: Creation, body: TenantRequest) -> Response:
    """Make a tenant. It also comes to be with the first key that is made for it."""

    def work(session: Session) -> Created:
        row = keys.create_tenant(session, body.name)
        note(session, row.id, name=row.name)
        return Created(shape_tenant(row), 201, f"{BASE_PATH}/tenants/{row.id}")

    content = json.dumps(strict_request().get_json(), sort_keys=True).encode()
    given = create(header, content=content, work=work)
    return answer_again(given.body, status=given.status, location=given.location)


@routes.get("/tenants", responses={200: Page[Tenant]})
def list_tenants(query: TenantQuery) -> Response:
    """List the tenants, newest first."""
    with transaction(ports().sessions, read_only=True) as session:
        page = keys.list_tenants(session, limit=query.limit, cursor=query.cursor, name=query.name)
    return answer(shape_page(Tenant, page, shape_tenant))


@routes.get("/tenants/<id:tenant_id>", responses={200: Tenant})
def show_tenant(path: TenantPath) -> Response:
    """Show a tenant."""
    with transaction(ports().sessions, read_only=True) as session:
        return answer(shape_tenant(keys.get_tenant(session, path.tenant_id)))


@routes.get("/tenants/<id:tenant_id>/quota", responses={200: TenantQuota})
def show_quota(path: TenantPath) -> Response:
    """Show a tenant's quotas and what is used of them."""
    with transaction(ports().sessions, read_only=True) as session:
        return answer(read_quota(session, keys.get_tenant(session, path.tenant_id).id))


@routes.put("/tenants/<id:tenant_id>/quota", responses={**problems(413), 200: TenantQuota})
def set_quota(path: TenantPath, body: QuotaRequest) -> Response:
    """Set a tenant's quotas, all of them anew; what is left out is the platform's default."""
    with transaction(ports().sessions) as session:
        tenant_id = keys.get_tenant(session, path.tenant_id).id
        before = quotas.read_own(session, tenant_id)
        quotas.set_own(session, tenant_id, body.to_own())
        note(session, tenant_id, before=show_own(before), after=show_own(body.to_own()))
        shape = read_quota(session, tenant_id)
    return answer(shape)
