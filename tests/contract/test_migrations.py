"""The migrations, on SQLite and on PostgreSQL alike."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect

from core.db.engine import open_engine
from core.db.migrations import migrate
from core.db.rows import Row

TABLES = {
    "api_keys",
    "artifacts",
    "audit_events",
    "dataset_entries",
    "datasets",
    "device_use",
    "epochs",
    "job_attempts",
    "job_transitions",
    "jobs",
    "packs",
    "quotas",
    "tenants",
    "workers",
    "ensembles",
    "ensemble_members",
    "evaluations",
    "models",
    "model_aliases",
    "model_alias_changes",
    "model_versions",
}


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/lenet.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    engine = open_engine(url)
    yield engine
    engine.dispose()


def _migrate(engine: Engine, revision: str = "head") -> None:
    migrate(engine.url.render_as_string(hide_password=False), revision=revision)


def _can_be_compared(engine: Engine, _: Any, name: str | None, *__: Any) -> bool:
    """Of an index on SQLite the directions cannot be read back; PostgreSQL's are compared."""
    return (engine.dialect.name, name) != ("sqlite", "ix_jobs_claims")


def test_up_makes_what_the_rows_say_and_nothing_else(engine: Engine) -> None:
    _migrate(engine)
    with engine.connect() as connection:
        options = {"compare_type": True, "include_object": partial(_can_be_compared, engine)}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Row.metadata) == []
    assert set(inspect(engine).get_table_names()) >= TABLES


def test_down_leaves_nothing_and_up_again_works(engine: Engine) -> None:
    _migrate(engine)
    _migrate(engine, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    _migrate(engine)
    assert set(inspect(engine).get_table_names()) >= TABLES


def test_up_twice_changes_nothing(engine: Engine) -> None:
    _migrate(engine)
    _migrate(engine)
    assert set(inspect(engine).get_table_names()) >= TABLES
