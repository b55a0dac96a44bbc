"""Builds the database's parts from the settings."""

from sqlalchemy import Engine

from core.db.engine import IDLE_SECONDS, PATIENCE_SECONDS, open_engine
from core.settings import Settings


def open_database(settings: Settings, *, patience_seconds: float = PATIENCE_SECONDS) -> Engine:
    """Return an engine for the database of the settings; see `core.db.engine.open_engine`.

    A transaction stands still no longer than a lease lasts: its locks would keep the job from the next worker.
    """
    if settings.database_url is None:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    idle_seconds = min(IDLE_SECONDS, settings.lease_seconds)
    return open_engine(settings.database, patience_seconds=patience_seconds, idle_seconds=idle_seconds)
