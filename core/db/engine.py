"""The one door to the database: an engine that behaves alike on SQLite and PostgreSQL, and its sessions."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from core.db.rows import UTCDateTime
from core.errors import UnavailableError

Sessions = sessionmaker[Session]
Reader = Session | Connection
"""What a statement that selects columns can be executed on."""

_SQLITE_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=30000", "foreign_keys=ON")
_CONNECT_TIMEOUT_SECONDS = 4
_MILLISECONDS = 15_000
# A process that is frozen in the middle of a transaction would hold its rows' locks, and the sweeper up, for ever.
_POSTGRESQL_OPTIONS = {
    "statement_timeout": _MILLISECONDS,
    "idle_in_transaction_session_timeout": _MILLISECONDS,
    "timezone": "UTC",
}


class database_now(FunctionElement[datetime]):  # noqa: N801 - SQL functions are written in lower case
    """The database's clock, not the worker's: leases must not depend on whose clock is right."""

    type = UTCDateTime()
    inherit_cache = True


@compiles(database_now, "postgresql")
def _postgresql_now(element: database_now, compiler: SQLCompiler, **_: Any) -> str:  # noqa: ARG001 - SQLAlchemy's signature
    return "clock_timestamp()"


@compiles(database_now, "sqlite")
def _sqlite_now(element: database_now, compiler: SQLCompiler, **_: Any) -> str:  # noqa: ARG001 - SQLAlchemy's signature
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"


def open_engine(url: str) -> Engine:
    """Return an engine for ``url``.

    SQLite takes its write lock at the beginning of each transaction, so that what is read is still true when
    it is written, and waits for another writer up to 30 s. PostgreSQL gives up connecting after 4 s, and any
    statement, or transaction in which nothing is asked, after 15 s: nothing waits for ever.
    """
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"timeout": 30})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return create_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1),
        pool_size=10,
        max_overflow=30,
        pool_timeout=_CONNECT_TIMEOUT_SECONDS,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
            "options": " ".join(f"-c {name}={value}" for name, value in _POSTGRESQL_OPTIONS.items()),
        },
    )


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None
    for pragma in _SQLITE_PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("read_only", False):
        # It waits for no lock and cannot fail, so it need not go by SQLAlchemy, which takes longer than the answer.
        connection.connection.cursor().execute("BEGIN DEFERRED")
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def open_sessions(engine: Engine) -> Sessions:
    """Return the factory of sessions; objects stay readable after a commit."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def transaction(sessions: Sessions, *, read_only: bool = False) -> Iterator[Session]:
    """Yield a session and commit at the end, or roll back where anything was raised.

    A read-only one does not wait for SQLite's write lock.

    Raises:
        UnavailableError: The database does not answer.
    """
    with _translated(), sessions.begin() as session:
        if read_only:
            session.connection(execution_options={"read_only": True})
        yield session


@contextmanager
def reading(sessions: Sessions) -> Iterator[Connection]:
    """Yield a connection for a statement that only reads columns.

    A session, which keeps track of objects, would take longer than the database: this is for what every request asks.

    Raises:
        UnavailableError: The database does not answer.
    """
    engine: Engine = sessions.kw["bind"]
    with _translated(), engine.connect() as connection:
        yield connection.execution_options(read_only=True)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, PoolTimeoutError) as error:
        raise UnavailableError("The database does not answer.", code="database_unavailable") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise UnavailableError("The database closed the connection.", code="database_unavailable") from error
        raise


def read_clock(session: Session) -> datetime:
    """Return the database's time."""
    return session.scalar(select(database_now())) or datetime.now(UTC)
