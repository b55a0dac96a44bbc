import sqlite3
from contextlib import closing

import pytest

from core.db.__main__ import main


@pytest.fixture
def tables(monkeypatch, tmp_path):
    monkeypatch.delenv("LENET_DATABASE_URL", raising=False)
    monkeypatch.setenv("LENET_DATA_DIR", str(tmp_path / "new"))

    def read():
        with closing(sqlite3.connect(tmp_path / "new" / "lenet.db")) as database:
            return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    return read


def test_the_command_makes_the_schema_where_there_is_none(tables):
    main([])
    assert {"datasets", "jobs", "api_keys"} <= tables()


def test_the_command_goes_to_the_revision_that_is_named(tables):
    main([])
    main(["--to", "base"])
    assert tables() == {"alembic_version"}
