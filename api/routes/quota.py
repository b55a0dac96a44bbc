"""What one may use, and does."""

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from sqlalchemy.orm import Session

from api.answers import answer
from api.auth import BASE_PATH, principal
from api.documents import SECURITY, TAGS, problems
from api.ports import ports
from api.schemas.quotas import TenantQuota, shape_quota
from core.db.engine import transaction
from core.services import quotas

routes = APIBlueprint(
    "quota", __name__, url_prefix=BASE_PATH, abp_tags=[TAGS["quota"]], abp_security=SECURITY, abp_responses=problems()
)


@routes.get("/quota", responses={200: TenantQuota})
def show_own_quota() -> Response:
    """Show one's own quotas and what is used of them."""
    with transaction(ports().sessions, read_only=True) as session:
        return answer(read_quota(session, principal().tenant_id))


def read_quota(session: Session, tenant_id: str) -> TenantQuota:
    """Return the quotas of a tenant and what is used of them."""
    own = quotas.read_own(session, tenant_id)
    limits = ports().settings.limits.but(own)
    requests = ports().rates.count("requests", tenant_id, limits.requests_per_minute)
    used = quotas.measure_use(session, tenant_id) | {"requests_per_minute": requests}
    return shape_quota(tenant_id, limits, own, used)
