"""The one door to the database: an engine that behaves alike on SQLite and PostgreSQL, and its sessions."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Float, create_engine, event, literal, select
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError
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

PATIENCE_SECONDS = 15.0
QUICK_SECONDS = 3.0
"""The patience of whoever must know soon: requests, which are answered within five seconds, and heartbeats."""
IDLE_SECONDS = 15.0
"""For how long nothing may be asked within a transaction."""

_SQLITE_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON")
_CONNECT_SECONDS = 3
# The server says first that a statement took too long; one that cannot even say so is given up a moment later.
_SILENCE_SECONDS = 1.0
_POSTGRESQL_OPTIONS = {
    # A process whose machine is gone, or cut off, would keep its session; an answer may be on its way to it.
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 25_000,
    "timezone": "UTC",
}
_KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 10_000}
# How a connection that only reads is used. In PostgreSQL every statement sees what has been committed by then, within
# a transaction or without; one would only cost two more ways there and back.
_READING: dict[str, dict[str, Any]] = {
    "sqlite": {"read_only": True},
    "postgresql": {"isolation_level": "AUTOCOMMIT"},
}
# No tables yet; a standby that was asked to write; the end of a session whose transaction had stood still.
_NOT_NOW = frozenset({"42P01", "25006", "25P03"})


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


class database_past(FunctionElement[datetime]):  # noqa: N801 - SQL functions are written in lower case
    """What the database's clock said so many seconds ago: a condition with it needs no time to be read first."""

    type = UTCDateTime()
    inherit_cache = True

    def __init__(self, seconds: float) -> None:
        super().__init__(literal(seconds, Float()))


@compiles(database_past, "postgresql")
def _postgresql_past(element: database_past, compiler: SQLCompiler, **options: Any) -> str:
    return f"(clock_timestamp() - make_interval(secs => {compiler.process(element.clauses, **options)}))"


@compiles(database_past, "sqlite")
def _sqlite_past(element: database_past, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', (-{seconds}) || ' seconds') || '000')"


def open_engine(url: str, *, patience_seconds: float = PATIENCE_SECONDS, idle_seconds: float = IDLE_SECONDS) -> Engine:
    """Return an engine for ``url``; nothing that is asked of it waits for ever.

    SQLite takes its write lock at the beginning of each transaction, so that what is read is still true when it is
    written, and waits so long for another writer. PostgreSQL ends a statement that takes longer, and is given up a
    second later where it does not even do that (`core.db.patience`). It also ends a transaction in which nothing is
    asked for ``idle_seconds``: a process that is frozen, or cut off, would hold its rows' locks for ever.
    """
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"timeout": patience_seconds})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    options = _POSTGRESQL_OPTIONS | {
        "statement_timeout": int(patience_seconds * 1000),
        "idle_in_transaction_session_timeout": int(idle_seconds * 1000),
    }
    engine = create_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1),
        pool_size=10,
        max_overflow=30,
        pool_timeout=_CONNECT_SECONDS,
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
            **_KEEPALIVES,
        },
    )
    event.listen(engine, "do_connect", _connector(patience_seconds + _SILENCE_SECONDS))
    event.listen(engine, "checkout", _refuse_what_is_over)
    return engine


def _connector(patience_seconds: float) -> Callable[..., Any]:
    """Return what connects an engine to PostgreSQL."""
    from core.db.patience import Gate, ImpatientConnection  # noqa: PLC0415 - SQLite alone needs no driver of PostgreSQL

    gate = Gate()

    def connect(_: Any, __: Any, positional: Sequence[Any], named: dict[str, Any]) -> ImpatientConnection:
        connection = gate.connect(lambda: ImpatientConnection.connect(*positional, **named))
        connection.gate, connection.patience_seconds = gate, patience_seconds
        return connection

    return connect


def _refuse_what_is_over(connection: Any, *_: Any) -> None:
    """Let no connection of before a restart be used: without a question, which would cost each transaction a sixth."""
    if connection.is_over():
        raise InvalidatePoolError


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
            session.connection(execution_options=_READING[session.get_bind().dialect.name])
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
        yield connection.execution_options(**_READING[engine.dialect.name])


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, PoolTimeoutError) as error:
        raise UnavailableError("The database does not answer.", code="database_unavailable") from error
    except DBAPIError as error:
        if error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _NOT_NOW:
            raise UnavailableError("The database cannot be used now.", code="database_unavailable") from error
        raise


def read_clock(session: Session) -> datetime:
    """Return the database's time."""
    return session.scalar(select(database_now())) or datetime.now(UTC)
