"""Builds the application from the settings: ``gunicorn 'api.wiring:create()'``."""

from flask import Flask
from sqlalchemy import select

from api.app import create_app
from api.models import Models
from api.ports import Ports
from api.queue import CelerySender, Outbox
from api.rates import Rates, open_redis
from api.readiness import Probes, tell_when_ready
from api.streams import Streams
from core import logs
from core.db.engine import QUICK_SECONDS, Sessions, open_sessions, transaction
from core.db.rows import TenantRow
from core.db.wiring import open_database
from core.inference.cache import ModelCache
from core.settings import Settings
from core.storage.wiring import open_store


def create() -> Flask:
    """Return the application for the settings of the environment."""
    settings = Settings()
    logs.configure(settings)
    opened = open_ports(settings)
    tell_when_ready(opened.probes)
    return create_app(opened)


def open_ports(settings: Settings) -> Ports:
    """Return the ports that the settings name; nothing is asked of any of them yet."""
    sessions = open_sessions(open_database(settings, patience_seconds=QUICK_SECONDS))
    store = open_store(settings)
    sender = CelerySender(settings.redis)
    return Ports(
        settings=settings,
        sessions=sessions,
        store=store,
        outbox=Outbox(sender),
        models=Models(store, ModelCache(settings.model_cache_bytes)),
        probes=Probes({"database": lambda: _ask_database(sessions), "redis": sender.check, "store": store.check}),
        # Half of the threads are left for whoever does not stream.
        streams=Streams(max(1, settings.api_threads // 2)),
        rates=Rates(open_redis(settings.redis)),
    )


def _ask_database(sessions: Sessions) -> None:
    """Read a table, not a constant: a database without our tables is not ready."""
    with transaction(sessions, read_only=True) as session:
        session.execute(select(TenantRow.id).limit(1))
