"""The triggers: every change of a row is recorded as it was and as it became, and what is rolled back is not."""

from collections.abc import Iterator

import pytest
from chaos import recording
from sqlalchemy import Engine, delete, insert, update

from core.db.engine import open_engine
from core.db.migrations import migrate
from core.db.rows import EpochRow, JobRow, TenantRow


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/lenet.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    migrate(url)
    engine = open_engine(url)
    recording.install(engine)
    with engine.begin() as connection:
        connection.execute(insert(TenantRow).values(id="t", name="t", created_at=_moment()))
        connection.execute(insert(JobRow).values(**_job()))
    yield engine
    engine.dispose()


def _moment():
    from datetime import UTC, datetime

    return datetime(2026, 1, 1, tzinfo=UTC)


def _job() -> dict:
    named = {"id": "j", "tenant_id": "t", "dataset_id": "d", "name": "n", "queue": "cpu", "status": "queued"}
    return {
        **named,
        "tags": [],
        "config": {"epochs": 1},
        "priority": 5,
        "max_attempts": 3,
        "created_at": _moment(),
        "updated_at": _moment(),
    }


def test_an_insert_an_update_and_a_delete_are_recorded_in_order(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(update(JobRow).values(status="failed", error={"code": "x"}))
        connection.execute(delete(JobRow))
    changes = recording.read(engine)
    assert [(one.before and one.before["status"], one.after and one.after["status"]) for one in changes] == [
        (None, "queued"),
        ("queued", "failed"),
        ("failed", None),
    ]
    assert changes[1].row["error"] == {"code": "x"}
    assert {one.job_id for one in changes} == {"j"}
    assert "config" not in changes[0].row


def test_what_is_rolled_back_is_not_recorded(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(update(JobRow).values(status="failed"))
        connection.rollback()
    assert len(recording.read(engine)) == 1


def test_an_epoch_belongs_to_its_job(engine: Engine) -> None:
    figures = {"train_loss": 1.0, "train_accuracy": 0.5, "learning_rate": 0.1, "seconds": 1.0, "images_per_second": 9.0}
    with engine.begin() as connection:
        connection.execute(insert(EpochRow).values(job_id="j", epoch=1, attempt=1, finished_at=_moment(), **figures))
    change = recording.read(engine)[-1]
    assert (change.table, change.job_id, change.primary, change.row["train_loss"]) == ("epochs", "j", ("j", 1), 1.0)


def test_changes_carry_the_database_s_time(engine: Engine) -> None:
    import time

    assert abs(recording.read(engine)[0].at - time.time()) < 60


def test_only_the_own_changes_are_forgotten(engine: Engine) -> None:
    with engine.begin() as connection:
        last = recording.last_number(connection)
        if engine.dialect.name == "postgresql":  # on SQLite nobody else can write meanwhile
            with engine.begin() as other:
                other.execute(update(JobRow).values(name="another's"))
        connection.execute(update(JobRow).values(status="failed"))
        recording.forget(connection, after=last)
    names = [change.row["name"] for change in recording.read(engine)]
    assert names == (["n", "another's"] if engine.dialect.name == "postgresql" else ["n"])
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT status FROM jobs").scalar_one() == "failed"
