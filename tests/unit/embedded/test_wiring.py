import sqlite3
from contextlib import closing

import pytest

from core.settings import Settings
from embedded.errors import StartError
from embedded.wiring import environment, prepare_database, stages


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name in ("DATABASE_URL", "REDIS_URL", "STORE_URL"):
        monkeypatch.delenv(f"LENET_{name}", raising=False)
    return Settings(data_dir=tmp_path, api_port=8123)


def test_every_process_learns_what_was_decided(settings, tmp_path):
    variables = environment(settings, {"PATH": "/bin", "LENET_WORKER_SLOTS": "3"}, redis_url="redis://here")
    assert variables["LENET_DATABASE_URL"] == f"sqlite:///{tmp_path}/lenet.db"
    assert variables["LENET_STORE_URL"] == f"file://{tmp_path}/objects"
    assert variables["LENET_REDIS_URL"] == "redis://here"
    assert variables["LENET_API_PORT"] == "8123"
    assert variables["LENET_WORKER_SLOTS"] == "3"
    assert variables["PATH"] == "/bin"


def test_no_process_is_told_the_administrator_s_key(settings):
    assert "LENET_API_KEY" not in environment(
        settings, {"LENET_API_KEY": "a-secret-of-length"}, redis_url="redis://here"
    )


def test_services_that_the_settings_name_are_used(tmp_path):
    settings = Settings(data_dir=tmp_path, database_url="postgresql://there/db", store_url="s3://bucket?endpoint=there")
    variables = environment(settings, {}, redis_url="redis://there")
    assert variables["LENET_DATABASE_URL"] == "postgresql://there/db"
    assert variables["LENET_STORE_URL"] == "s3://bucket?endpoint=there"


def test_the_api_stops_first_then_the_workers_then_beat(settings):
    order = [[program.name for program in stage] for stage in reversed(stages(settings, {}))]
    assert order == [["api"], ["worker-train", "worker-ingest"], ["beat"]]


def test_the_database_is_brought_up_to_date_and_knows_the_key(settings):
    assert prepare_database(settings) == prepare_database(settings)


def test_a_database_that_cannot_be_used_is_named_without_its_password(tmp_path):
    place = f"sqlite:///{tmp_path}/no/such/folder/lenet.db"
    with pytest.raises(StartError, match=r"no/such/folder/lenet\.db cannot be used: unable to open"):
        prepare_database(Settings(data_dir=tmp_path, database_url=place))


def test_a_database_url_that_cannot_be_read_is_not_shown(tmp_path):
    with pytest.raises(StartError, match="of LENET_DATABASE_URL cannot be used") as raised:
        prepare_database(Settings(data_dir=tmp_path, database_url="secret-word"))
    assert "secret-word" not in raised.value.detail


def test_a_schema_of_a_later_version_is_refused_and_stays_as_it_is(settings, tmp_path):
    prepare_database(settings)
    with closing(sqlite3.connect(tmp_path / "lenet.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = 'later'")
        database.commit()
    with pytest.raises(StartError, match=r"cannot be used: .*later"):
        prepare_database(settings)
