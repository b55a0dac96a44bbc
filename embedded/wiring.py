"""What the embedded platform consists of, made from the settings: environment, database and programs."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from alembic.util import CommandError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from core.db.engine import open_sessions
from core.db.migrations import migrate
from core.db.wiring import open_database
from core.errors import UnavailableError
from core.settings import ENVIRONMENT_PREFIX, Settings
from embedded.errors import StartError
from embedded.first_key import ensure_key
from embedded.processes import Program

LOGS_NAME = "logs"
_API_KEY = f"{ENVIRONMENT_PREFIX}API_KEY"
_API_GRACE_SECONDS = 10.0
_WORKER_GRACE_SECONDS = 30.0


def logs_folder(settings: Settings) -> Path:
    """Return the folder of the processes' logs, made where it is missing."""
    folder = settings.data_dir / LOGS_NAME
    folder.mkdir(exist_ok=True)
    return folder


def environment(settings: Settings, inherited: Mapping[str, str], *, redis_url: str) -> dict[str, str]:
    """Return the environment of every process: the one we got, with what was decided here.

    The key is left out: the database knows it by its hash, and nobody else need know it.
    """
    decided = {
        "DATA_DIR": str(settings.data_dir),
        "DATABASE_URL": settings.database,
        "STORE_URL": settings.store,
        "REDIS_URL": redis_url,
        "API_HOST": settings.api_host,
        "API_PORT": str(settings.api_port),
    }
    kept = {name: value for name, value in inherited.items() if name != _API_KEY}
    return {**kept, "PYTHONUNBUFFERED": "1", **{ENVIRONMENT_PREFIX + name: value for name, value in decided.items()}}


def stages(settings: Settings, variables: Mapping[str, str]) -> list[list[Program]]:
    """Return the programs that stand on Redis, stage by stage: stopped from the end, the API goes first."""
    logs = logs_folder(settings)

    def program(name: str, *arguments: str, grace_seconds: float = 10.0) -> Program:
        command = (sys.executable, "-m", *arguments)
        return Program(name, command, logs / f"{name}.log", variables, grace_seconds=grace_seconds)

    return [
        [program("beat", "worker", "beat")],
        [
            program("worker-train", "worker", "train", grace_seconds=_WORKER_GRACE_SECONDS),
            program("worker-ingest", "worker", "ingest", grace_seconds=_WORKER_GRACE_SECONDS),
        ],
        [program("api", "api.server", "--key-is-stored", grace_seconds=_API_GRACE_SECONDS)],
    ]


def prepare_database(settings: Settings) -> str | None:
    """Bring the schema up to date and return the first administrator's key, ``None`` where it was revoked.

    Raises:
        StartError: The database does not answer, or its schema is one that this version does not know.
    """
    try:
        migrate(settings.database)
        engine = open_database(settings)
        try:
            return ensure_key(settings, open_sessions(engine))
        finally:
            engine.dispose()
    except (SQLAlchemyError, CommandError, UnavailableError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise StartError(f"The database {_shown(settings.database)} cannot be used: {reason}") from error


def _shown(url: str) -> str:
    """Return a database's URL without its password, or the variable's name where it is no URL."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "of LENET_DATABASE_URL"


def present_environment() -> dict[str, str]:
    """Return this process's own environment."""
    return dict(os.environ)
