"""Who asks, and what the key allows. Nothing is answered without a key but what stands on the list here."""

import threading
import time

from flask import Flask, g, request
from pydantic import SecretStr
from sqlalchemy.exc import IntegrityError as DuplicateError
from werkzeug.exceptions import MethodNotAllowed

from api.ports import ports
from core import logs
from core.db.engine import QUICK_SECONDS, Sessions, reading, transaction
from core.errors import NotAllowedError, UnauthenticatedError, UnavailableError
from core.services import keys
from core.services.keys import Principal, Scope

BASE_PATH = "/api/v1"
PUBLIC = frozenset({"health.healthz", "health.readyz", "docs.openapi", "docs.page", "docs.start", "docs.static"})
"""Endpoints that need no key."""

_ADMIN_BLUEPRINTS = frozenset({"keys"})
# They store nothing: what they answer could as well be read.
_READING_POSTS = frozenset(
    {
        "results.predict",
        "explanations.show_feature_maps",
        "explanations.show_saliency",
        "ensembles.predict",
        "registry.predict",
    }
)
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
    with reading(ports().sessions) as connection:
        return keys.authenticate(connection, secret)


def _check_scope(who: Principal) -> None:
    needed = _needed_scope()
    if not who.scopes & _INCLUDED[needed]:
        raise NotAllowedError(f"The key does not have the scope {needed!r}, which this needs.")


def _needed_scope() -> Scope:
    if request.blueprint in _ADMIN_BLUEPRINTS:
        return "admin"
    if request.method in _READING_METHODS or request.endpoint in _READING_POSTS:
        return "read"
    return "train"
