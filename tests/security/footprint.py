"""What a platform keeps, counted row by row and file by file, so that nothing comes or goes unnoticed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, Table, select

from core.db.rows import Row

ESCAPE = "lenet-escape"
"""A test that tries to have a file written elsewhere puts this into the file's name: it is looked for there."""

OBJECTS = "objects"
# Workers report themselves all the time.
_LEFT_OUT = {"workers"}
_ELSEWHERE = ("/", "/etc", "/root", "/home", "/tmp", "/var/tmp", "/dev/shm")


@dataclass(frozen=True)
class Footprint:
    """The primary keys of each table's rows, the files of the store, and the files that lie where none should."""

    rows: Mapping[str, frozenset[tuple]]
    objects: frozenset[str]
    outside: frozenset[str]


def take(engine: Engine, *, objects: Path, outer: Path, inner: Path, but: Iterable[str]) -> Footprint:
    """Return what is there now.

    Args:
        engine: The platform's database.
        objects: The folder of its store.
        outer: A folder above the platform's own, in which nothing else may come to be.
        inner: The platform's folder.
        but: The ids of the job, and of the tenant, that go on meanwhile: what is theirs is left out.
    """
    with engine.connect() as connection:
        rows = {
            name: _rows(connection, table, set(but))
            for name, table in Row.metadata.tables.items()
            if name not in _LEFT_OUT
        }
    kept = {str(path.relative_to(objects)) for path in _files(objects) if not set(path.parts) & set(but)}
    return Footprint(rows, frozenset(kept), frozenset(_outside(outer, inner)))


def _rows(connection: Connection, table: Table, but: set[str]) -> frozenset[tuple]:
    owners = [table.c[name] for name in ("job_id", "tenant_id") if name in table.c] or list(table.primary_key)
    others = select(*table.primary_key).where(*(column.not_in(but) for column in owners if _is_text(column)))
    return frozenset(map(tuple, connection.execute(others)))


def _is_text(column) -> bool:
    return column.type.python_type is str


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _outside(outer: Path, inner: Path) -> Iterable[str]:
    """Yield what lies in ``outer`` but not in ``inner``, and every escape beside it."""
    yield from (
        str(path) for path in outer.rglob("*") if inner not in (path, *path.parents) and path not in inner.parents
    )
    for folder in (*_ELSEWHERE, Path.cwd(), Path.home()):
        yield from map(str, Path(folder).glob(f"*{ESCAPE}*"))
