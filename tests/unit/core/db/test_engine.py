"""The one door to SQLite: who waits for whom, and what becomes of a database that does not answer."""

import sqlite3

import pytest
from sqlalchemy import text

from core.db.engine import open_engine, open_sessions, reading, transaction
from core.errors import UnavailableError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lenet.db"


@pytest.fixture
def sessions(path):
    engine = open_engine(f"sqlite:///{path}")
    with engine.begin() as link:
        link.execute(text("CREATE TABLE notes (note TEXT)"))
    yield open_sessions(engine)
    engine.dispose()


@pytest.fixture
def writer(path, sessions):
    """Hold the write lock, with a note that is not committed yet."""
    link = sqlite3.connect(path, isolation_level=None, timeout=0)
    link.execute("BEGIN IMMEDIATE")
    link.execute("INSERT INTO notes VALUES ('written')")
    yield link
    link.close()


def read_notes(link):
    return list(link.execute(text("SELECT note FROM notes")).scalars())


def test_reading_does_not_wait_for_a_writer(sessions, writer):
    with reading(sessions) as link:
        assert read_notes(link) == []
    with transaction(sessions, read_only=True) as session:
        assert read_notes(session) == []


def test_what_is_read_stays_true_until_the_end(sessions, writer):
    with reading(sessions) as link:
        assert read_notes(link) == []
        writer.execute("COMMIT")
        assert read_notes(link) == []
    with reading(sessions) as link:
        assert read_notes(link) == ["written"]


@pytest.mark.parametrize("door", [reading, lambda sessions: transaction(sessions, read_only=True)])
def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path, door):
    engine = open_engine(f"sqlite:///{tmp_path / 'missing' / 'lenet.db'}")
    with pytest.raises(UnavailableError), door(open_sessions(engine)) as link:
        read_notes(link)
    engine.dispose()
