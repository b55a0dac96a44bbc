"""The audit trail; for administrators."""

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from api.answers import answer
from api.auth import BASE_PATH
from api.documents import SECURITY, TAGS, problems
from api.paging import shape_page
from api.ports import ports
from api.schemas.audit import AuditEvent, AuditQuery, shape_event
from api.schemas.base import Page
from core.db.engine import transaction
from core.services import audit

routes = APIBlueprint(
    "audit", __name__, url_prefix=BASE_PATH, abp_tags=[TAGS["audit"]], abp_security=SECURITY, abp_responses=problems()
)


@routes.get("/audit", responses={200: Page[AuditEvent]})
def list_events(query: AuditQuery) -> Response:
    """List who did what to which resource, of every tenant, newest first; nothing of it can be changed."""
    with transaction(ports().sessions, read_only=True) as session:
        page = audit.list_events(session, query.to_filter(), limit=query.limit, cursor=query.cursor)
    return answer(shape_page(AuditEvent, page, shape_event))
