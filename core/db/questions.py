"""Questions that every request asks: put together once, and asked of the driver itself.

What SQLAlchemy does around a statement takes ten times as long as SQLite's answer. Connections, their pool, the types
of columns and the kinds of errors stay SQLAlchemy's.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, Select
from sqlalchemy.exc import DBAPIError

from core.db.engine import Reader


class _Plan(NamedTuple):
    """A statement in the words of one dialect.

    ``names`` are those of the parameters in their order, where the driver takes them so; ``processors`` make of each
    column what its type says.
    """

    sql: str
    names: Sequence[str] | None
    constants: Mapping[str, Any]
    processors: Sequence[Callable[[Any], Any] | None]


class Question:
    """A statement that selects columns of one row by texts and numbers."""

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        self._statement = statement
        self._plans: dict[str, _Plan] = {}

    def ask(self, reader: Reader, **given: str | int) -> tuple[Any, ...] | None:
        """Return the columns of the first row, ``None`` where there is none.

        Raises:
            DBAPIError: As SQLAlchemy raises it; a connection that is lost is not used again.
        """
        connection = reader if isinstance(reader, Connection) else reader.connection()
        plan = self._plans.get(connection.dialect.name) or self._make_plan(connection.dialect)
        values: dict[str, Any] = {**plan.constants, **given}
        row = _fetch(connection, plan.sql, values if plan.names is None else [values[name] for name in plan.names])
        if row is None:
            return None
        return tuple(process(value) if process else value for process, value in zip(plan.processors, row, strict=True))

    def _make_plan(self, dialect: Dialect) -> _Plan:
        compiled = self._statement.compile(dialect=dialect)
        types = [column.type.dialect_impl(dialect) for column in self._statement.selected_columns]
        plan = _Plan(
            sql=str(compiled),
            names=tuple(compiled.positiontup or ()) if compiled.positional else None,
            constants=compiled.params,
            processors=[kind.result_processor(dialect, None) for kind in types],
        )
        self._plans[dialect.name] = plan
        return plan


def _fetch(connection: Connection, sql: str, values: Sequence[Any] | Mapping[str, Any]) -> Sequence[Any] | None:
    driver = connection.dialect.loaded_dbapi
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql, values)
        row: Sequence[Any] | None = cursor.fetchone()
    except driver.Error as error:
        is_lost = connection.dialect.is_disconnect(error, connection.connection.driver_connection, cursor)
        raised = DBAPIError.instance(
            sql, None, error, driver.Error, connection_invalidated=is_lost, dialect=connection.dialect
        )
        if is_lost:
            connection.invalidate(error)
        raise raised from error
    finally:
        cursor.close()
    return row
