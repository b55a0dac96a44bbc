"""API keys: made once, stored hashed, and turned into who is asking."""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.orm import Session

from core.db.engine import Reader, database_now, read_clock
from core.db.questions import Question
from core.db.rows import ApiKeyRow, QuotaRow, TenantRow
from core.domain.identifiers import new_id
from core.errors import ConflictError, NotFoundError, UnauthenticatedError
from core.services.paging import Page, read_page

Scope = Literal["read", "train", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "train", "admin")
DEFAULT_TENANT = "default"
_USE_NOTED_EVERY = timedelta(minutes=1)
# The database's clock is in it rather than in a question before.
_VALID_KEY = Question(
    select(ApiKeyRow.id, ApiKeyRow.tenant_id, ApiKeyRow.scopes, QuotaRow.requests_per_minute)
    .outerjoin(QuotaRow, QuotaRow.tenant_id == ApiKeyRow.tenant_id)
    .where(
        ApiKeyRow.secret_hash == bindparam("secret_hash"),
        ApiKeyRow.revoked_at.is_(None),
        or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > database_now()),
    )
)


@dataclass(frozen=True)
class Principal:
    """Who is asking: a key, its tenant and what it may do.

    ``requests_per_minute`` is the tenant's own quota, ``None`` where it has none of its own.
    """

    key_id: str
    tenant_id: str
    scopes: frozenset[str]
    requests_per_minute: int | None = None


def new_secret() -> str:
    """Return a new secret: 32 random bytes behind a prefix that scanners for leaked keys can look for."""
    return f"lenet_{secrets.token_urlsafe(32)}"


def hash_secret(secret: str) -> str:
    """Return what is stored of a secret. It is random and long, so a plain hash cannot be guessed backwards."""
    return hashlib.sha256(secret.encode()).hexdigest()


def authenticate(reader: Reader, secret: str) -> Principal:
    """Return who holds ``secret``; raises `UnauthenticatedError` where it is wrong, expired or revoked.

    The look-up is by the hash, whose bits say nothing of how near a guess came: no timing tells anything.
    """
    found = _VALID_KEY.ask(reader, secret_hash=hash_secret(secret))
    if found is None:
        raise UnauthenticatedError("A valid API key is needed: Authorization: Bearer <key>.")
    key_id, tenant_id, scopes, requests_per_minute = found
    return Principal(key_id, tenant_id, frozenset(scopes), requests_per_minute)


def note_use(session: Session, key_id: str) -> None:
    """Record that a key was used, at most once a minute."""
    now = read_clock(session)
    session.execute(
        update(ApiKeyRow)
        .where(
            ApiKeyRow.id == key_id,
            (ApiKeyRow.last_used_at.is_(None)) | (ApiKeyRow.last_used_at < now - _USE_NOTED_EVERY),
        )
        .values(last_used_at=now)
        .execution_options(synchronize_session=False)
    )


def ensure_admin_key(session: Session, secret: str) -> bool:
    """Make ``secret`` an administrator's key of the default tenant, where it is none yet.

    Returns:
        Whether it opens: one that was revoked stays so.
    """
    present = session.scalar(select(ApiKeyRow).where(ApiKeyRow.secret_hash == hash_secret(secret)))
    if present is None:
        create_key(session, ensure_tenant(session, DEFAULT_TENANT), name="first", scopes=SCOPES, secret=secret)
    return present is None or present.revoked_at is None


def ensure_tenant(session: Session, name: str) -> str:
    """Return the id of the tenant of that name, made where it is missing."""
    tenant = session.scalar(select(TenantRow).where(TenantRow.name == name))
    if tenant is None:
        tenant = _add_tenant(session, name)
    return tenant.id


def create_tenant(session: Session, name: str) -> TenantRow:
    """Make a tenant; raises `ConflictError` ``tenant_exists`` where one has the name."""
    if session.scalar(select(TenantRow.id).where(TenantRow.name == name)) is not None:
        raise ConflictError("There is a tenant of that name.", code="tenant_exists")
    return _add_tenant(session, name)


def _add_tenant(session: Session, name: str) -> TenantRow:
    tenant = TenantRow(id=new_id("tenant"), name=name, created_at=read_clock(session))
    session.add(tenant)
    session.flush()
    return tenant


def get_tenant(session: Session, tenant_id: str) -> TenantRow:
    """Return a tenant; raises `NotFoundError`."""
    tenant = session.get(TenantRow, tenant_id)
    if tenant is None:
        raise NotFoundError("There is no such tenant.", code="tenant_not_found")
    return tenant


def list_tenants(
    session: Session, *, limit: int, cursor: str | None = None, name: str | None = None
) -> Page[TenantRow]:
    """Return a page of the tenants, newest first; with ``name`` the one that is called so."""
    query = select(TenantRow) if name is None else select(TenantRow).where(TenantRow.name == name)
    return read_page(session, query, TenantRow.id, limit=limit, cursor=cursor)


def create_key(
    session: Session,
    tenant_id: str,
    *,
    name: str,
    scopes: Sequence[Scope],
    secret: str,
    expires_at: datetime | None = None,
) -> ApiKeyRow:
    """Store a key by the hash of its secret."""
    row = ApiKeyRow(
        id=new_id("key"),
        tenant_id=tenant_id,
        name=name,
        secret_hash=hash_secret(secret),
        scopes=list(scopes),
        created_at=read_clock(session),
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    return row


def list_keys(session: Session, *, limit: int, cursor: str | None = None, tenant: str | None = None) -> Page[ApiKeyRow]:
    """Return a page of the keys that are not revoked, newest first: of every tenant, or of the one of that name."""
    query = select(ApiKeyRow).where(ApiKeyRow.revoked_at.is_(None))
    if tenant is not None:
        query = query.join(TenantRow, TenantRow.id == ApiKeyRow.tenant_id).where(TenantRow.name == tenant)
    return read_page(session, query, ApiKeyRow.id, limit=limit, cursor=cursor)


def name_tenants(session: Session, tenant_ids: Collection[str]) -> dict[str, str]:
    """Return the names of tenants by their ids."""
    return {row.id: row.name for row in session.scalars(select(TenantRow).where(TenantRow.id.in_(tenant_ids)))}


def get_key(session: Session, key_id: str) -> ApiKeyRow:
    """Return a key that is not revoked; raises `NotFoundError`."""
    key = session.get(ApiKeyRow, key_id)
    if key is None or key.revoked_at is not None:
        raise NotFoundError("There is no such key.", code="key_not_found")
    return key


def revoke_key(session: Session, key_id: str) -> ApiKeyRow:
    """Revoke a key at once and return it; raises `NotFoundError`."""
    key = get_key(session, key_id)
    key.revoked_at = read_clock(session)
    return key
