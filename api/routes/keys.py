"""API keys; for administrators."""

import json

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from sqlalchemy.orm import Session

from api.answers import answer, answer_again, no_content
from api.audit import note
from api.auth import BASE_PATH, principal
from api.bodies import strict_request
from api.documents import SECURITY, TAGS, problems
from api.idempotency import Created, create
from api.paging import shape_page
from api.ports import ports
from api.schemas.base import Creation, Page
from api.schemas.keys import Key, KeyQuery, KeyRequest, NewKey, shape_key, shape_new_key
from api.schemas.paths import KeyPath
from core.db.engine import transaction
from core.services import keys

routes = APIBlueprint(
    "keys", __name__, url_prefix=BASE_PATH, abp_tags=[TAGS["keys"]], abp_security=SECURITY, abp_responses=problems()
)


@routes.post("/keys", responses={**problems(409, 413), 201: NewKey})
def create_key(header: Creation, body: KeyRequest) -> Response:
    """Make a key. Its secret is shown in this answer and never again."""

    def work(session: Session) -> Created:
        tenant_id = keys.ensure_tenant(session, body.tenant) if body.tenant else principal().tenant_id
        secret = keys.new_secret()
        row = keys.create_key(
            session,
            tenant_id,
            name=body.name,
            scopes=[scope for scope in keys.SCOPES if scope in body.scopes],
            secret=secret,
            expires_at=body.expires_at,
        )
        tenant = keys.name_tenants(session, [tenant_id])[tenant_id]
        note(session, row.id, tenant_id=tenant_id, name=row.name, scopes=row.scopes)
        # What is kept for a second answer must not hold the secret, which is stored nowhere.
        kept = shape_new_key(row, tenant=tenant, secret=None)
        shape = shape_new_key(row, tenant=tenant, secret=secret)
        return Created(shape, 201, f"{BASE_PATH}/keys/{row.id}", kept=kept)

    content = json.dumps(strict_request().get_json(), sort_keys=True).encode()
    given = create(header, content=content, work=work)
    return answer_again(given.body, status=given.status, location=given.location)


@routes.get("/keys", responses={200: Page[Key]})
def list_keys(query: KeyQuery) -> Response:
    """List the keys that are in force, newest first."""
    with transaction(ports().sessions, read_only=True) as session:
        page = keys.list_keys(session, limit=query.limit, cursor=query.cursor, tenant=query.tenant)
        names = keys.name_tenants(session, {row.tenant_id for row in page.items})
    return answer(shape_page(Key, page, lambda row: shape_key(row, tenant=names[row.tenant_id])))


@routes.get("/keys/<id:key_id>", responses={200: Key})
def show_key(path: KeyPath) -> Response:
    """Show a key that is in force, without its secret."""
    with transaction(ports().sessions, read_only=True) as session:
        row = keys.get_key(session, path.key_id)
        tenant = keys.get_tenant(session, row.tenant_id).name
    return answer(shape_key(row, tenant=tenant))


@routes.delete("/keys/<id:key_id>", responses={204: None})
def revoke_key(path: KeyPath) -> Response:
    """Revoke a key at once."""
    with transaction(ports().sessions) as session:
        row = keys.revoke_key(session, path.key_id)
        note(session, row.id, tenant_id=row.tenant_id, name=row.name)
    return no_content()
