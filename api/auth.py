"""Who asks, what the key allows, and how often. What does not stand on a list here needs an administrator's key."""

import threading
import time
from ipaddress import IPv6Address, ip_address, ip_network

from flask import Flask, g, request
from pydantic import SecretStr
from sqlalchemy.exc import IntegrityError as DuplicateError
from werkzeug.exceptions import MethodNotAllowed

from api.ports import ports
from core import logs
from core.db.engine import QUICK_SECONDS, Sessions, reading, transaction
from core.domain.quotas import UNLIMITED
from core.errors import (
    NotAllowedError,
    QuotaExceededError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
)
from core.services import keys
from core.services.keys import Principal, Scope

BASE_PATH = "/api/v1"
PUBLIC = frozenset({"health.healthz", "health.readyz", "docs.openapi", "docs.page", "docs.start", "docs.static"})
"""Endpoints that need no key."""

TENANT_BLUEPRINTS = frozenset({"datasets", "jobs", "results", "platform", "quota"})
"""Resources of tenants, for keys of every scope; all others are the administrators'."""

READING_POSTS = frozenset({"results.predict"})
_READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_INCLUDED: dict[Scope, frozenset[str]] = {
    "read": frozenset({"read", "train", "admin"}),
    "train": frozenset({"train", "admin"}),
    "admin": frozenset({"admin"}),
}
_LONGEST_SECRET = 512
_USE_NOTED_EVERY_SECONDS = 60.0
_NOTE_SECONDS = 0.5
_log = logs.get(__name__)


class FirstKey:
    """The administrator's key that the settings name, put into the database as soon as that answers."""

    def __init__(self, sessions: Sessions, secret: SecretStr | None) -> None:
        self._sessions = sessions
        self._secret = secret
        self._lock = threading.Lock()

    def ensure(self) -> None:
        """Store the key unless that was done; raises `UnavailableError` where the database does not answer."""
        if self._secret is None:
            return
        if not self._lock.acquire(timeout=QUICK_SECONDS):
            raise UnavailableError("The first key is being stored.", code="database_unavailable")
        try:
            self._store()
        finally:
            self._lock.release()

    def _store(self) -> None:
        if self._secret is None:
            return
        try:
            with transaction(self._sessions) as session:
                keys.ensure_admin_key(session, self._secret.get_secret_value())
        except DuplicateError:
            _log.info("another process stored the first key at the same moment")
        self._secret = None


class UseNotes:
    """Notes when a key was last used, without a write for every request, and without making one wait for a lock."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._noted_at: dict[str, float] = {}

    def note(self, key_id: str) -> None:
        """Write that a key is used, where that was not written within a minute; a moment is waited for it."""
        now = time.monotonic()
        if now - self._noted_at.get(key_id, -_USE_NOTED_EVERY_SECONDS) < _USE_NOTED_EVERY_SECONDS:
            return
        self._noted_at[key_id] = now
        writing = threading.Thread(target=self._write, args=(key_id,), name="use-note", daemon=True)
        writing.start()
        writing.join(_NOTE_SECONDS)

    def _write(self, key_id: str) -> None:
        try:
            with transaction(self._sessions) as session:
                keys.note_use(session, key_id)
        except UnavailableError as error:
            _log.warning("the use of a key was not noted", reason=error.detail)


def install(app: Flask, *, first_key: FirstKey, notes: UseNotes) -> None:
    """Ask for a key before anything is done."""

    def admit() -> None:
        if _is_public():
            return
        first_key.ensure()
        g.principal = _authenticate()
        _check_rate(g.principal)
        _check_scope(g.principal)
        notes.note(g.principal.key_id)

    app.before_request(admit)


def principal() -> Principal:
    """Return who asks."""
    found: Principal = g.principal
    return found


def _is_public() -> bool:
    """Return whether anybody may ask this: what is listed, and what is no route whoever asks."""
    if request.endpoint is not None:
        return request.endpoint in PUBLIC
    return isinstance(request.routing_exception, MethodNotAllowed) or not request.path.startswith(BASE_PATH)


def _authenticate() -> Principal:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not 0 < len(secret) <= _LONGEST_SECRET:
        raise UnauthenticatedError("A valid API key is needed: Authorization: Bearer <key>.")
    try:
        with reading(ports().sessions) as connection:
            return keys.authenticate(connection, secret)
    except UnauthenticatedError:
        _check_guesses()
        raise


def _check_guesses() -> None:
    """Count a wrong key from an address; raises `TooManyRequestsError`. Right keys are neither counted nor refused."""
    most = ports().settings.bad_keys_per_minute or UNLIMITED
    wait_seconds = ports().rates.take("guesses", _address(), most)
    if wait_seconds is not None:
        raise TooManyRequestsError(
            f"More than {most} wrong keys came from this address within a minute.",
            code="too_many_wrong_keys",
            retry_after_seconds=wait_seconds,
        )


def _address() -> str:
    """Return who sent the request, as far as is known: of version 6 the network, of which everybody has one."""
    try:
        address = ip_address(request.remote_addr or "")
    except ValueError:
        return "unknown"
    return str(ip_network((address, 64), strict=False) if isinstance(address, IPv6Address) else address)


def request_limit(who: Principal) -> int:
    """Return how many requests a minute the keys of a tenant may send together."""
    own = who.requests_per_minute
    return ports().settings.limits.requests_per_minute if own is None else own


def _check_rate(who: Principal) -> None:
    limit = request_limit(who)
    wait_seconds = ports().rates.take("requests", who.tenant_id, limit)
    if wait_seconds is not None:
        raise QuotaExceededError(
            f"The quota is {limit} requests a minute; they are used up.",
            quota="requests_per_minute",
            limit=limit,
            used=limit,
            retry_after_seconds=wait_seconds,
        )


def _check_scope(who: Principal) -> None:
    needed = _needed_scope()
    if not who.scopes & _INCLUDED[needed]:
        raise NotAllowedError(f"The key does not have the scope {needed!r}, which this needs.")


def is_administrative() -> bool:
    """Return whether the present request is for administrators alone."""
    return not _is_public() and _needed_scope() == "admin"


def changes_something() -> bool:
    """Return whether the present request is one that changes what it names."""
    return request.method not in _READING_METHODS and request.endpoint not in READING_POSTS


def _needed_scope() -> Scope:
    if request.endpoint is not None and request.blueprint not in TENANT_BLUEPRINTS:
        return "admin"
    return "train" if changes_something() else "read"
