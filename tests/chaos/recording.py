"""Triggers that write each change of a row into a table of their own, on SQLite and PostgreSQL, and its reader."""

import json
from collections.abc import Iterator

from chaos.history import TABLES, Change
from sqlalchemy import JSON, Connection, Engine, text

from core.db.rows import Row

_CHANGES = "chaos_changes"
# Long and of no interest to the checker.
_LEFT_OUT = {"config", "manifest", "entries", "metrics", "tags"}

_POSTGRESQL = f"""
CREATE TABLE {_CHANGES} (
    number bigserial PRIMARY KEY, at double precision NOT NULL, name text NOT NULL, before jsonb, after jsonb,
    writer bigint NOT NULL DEFAULT txid_current()
);
CREATE FUNCTION chaos_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {_CHANGES} (at, name, before, after) VALUES (
        extract(epoch FROM clock_timestamp()), TG_TABLE_NAME,
        CASE WHEN TG_OP = 'INSERT' THEN NULL ELSE to_jsonb(OLD) - '{{{",".join(sorted(_LEFT_OUT))}}}'::text[] END,
        CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE to_jsonb(NEW) - '{{{",".join(sorted(_LEFT_OUT))}}}'::text[] END);
    RETURN NULL;
END $$;
"""
_SQLITE = f"""
CREATE TABLE {_CHANGES} (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, name TEXT NOT NULL, before TEXT, after TEXT
);
"""


def install(engine: Engine) -> None:
    """Begin to record; the schema must be there and the tables empty."""
    if engine.dialect.name == "postgresql":
        statements = [_POSTGRESQL, *map(_postgresql_trigger, TABLES)]
    else:
        statements = [_SQLITE, *(sql for table in TABLES for sql in _sqlite_triggers(table))]
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def _postgresql_trigger(table: str) -> str:
    return (
        f"CREATE TRIGGER chaos_{table} AFTER INSERT OR UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION chaos_write()"
    )


def _sqlite_triggers(table: str) -> Iterator[str]:
    for event, before, after in (("INSERT", None, "NEW"), ("UPDATE", "OLD", "NEW"), ("DELETE", "OLD", None)):
        values = ", ".join(_sqlite_row(table, name) if name else "NULL" for name in (before, after))
        yield (
            f"CREATE TRIGGER chaos_{table}_{event} AFTER {event} ON {table} BEGIN "
            f"INSERT INTO {_CHANGES} (at, name, before, after) "
            f"VALUES ((julianday('now') - 2440587.5) * 86400.0, '{table}', {values}); END"
        )


def _sqlite_row(table: str, name: str) -> str:
    columns = [column for column in Row.metadata.tables[table].columns if column.name not in _LEFT_OUT]
    parts = (
        f"'{column.name}', "
        + (f"json({name}.{column.name})" if isinstance(column.type, JSON) else f"{name}.{column.name}")
        for column in columns
    )
    return f"json_object({', '.join(parts)})"


def read(engine: Engine) -> list[Change]:
    """Return every change so far, in the order in which the rows were changed."""
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT number, at, name, before, after FROM {_CHANGES} ORDER BY number")).all()
    return [Change(row.number, row.at, row.name, _parse(row.before), _parse(row.after)) for row in rows]


def last_number(connection: Connection) -> int:
    """Return the number of the newest change."""
    return connection.execute(text(f"SELECT coalesce(max(number), 0) FROM {_CHANGES}")).scalar_one()


def forget(connection: Connection, *, after: int) -> None:
    """Take the changes of this transaction out of the history, those after a number: they were the test's own doing.

    On PostgreSQL others write at the same time, and theirs stay.
    """
    own = " AND writer = txid_current()" if connection.dialect.name == "postgresql" else ""
    connection.execute(text(f"DELETE FROM {_CHANGES} WHERE number > :number{own}"), {"number": after})


def _parse(value: object) -> dict | None:
    return json.loads(value) if isinstance(value, str) else value
