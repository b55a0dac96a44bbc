import socket
from datetime import timedelta

import pytest

from core.db.engine import open_engine, open_sessions, transaction
from core.db.rows import Row, WorkerRow
from core.services import workers
from worker.health import main


@pytest.fixture
def sessions(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/lenet.db"
    monkeypatch.setenv("LENET_DATABASE_URL", url)
    engine = open_engine(url)
    Row.metadata.create_all(engine)
    yield open_sessions(engine)
    engine.dispose()


def report(sessions, host):
    with transaction(sessions) as session:
        workers.report(session, name="w1", host=host, role="train", device="cpu", slots=1, busy=[])


def test_a_worker_of_this_host_that_has_just_reported_lives(sessions):
    report(sessions, socket.gethostname())
    assert main() == 0


def test_another_hosts_worker_says_nothing_of_ours(sessions, capsys):
    report(sessions, "elsewhere")
    assert main() == 1
    assert f"No worker of {socket.gethostname()} has reported" in capsys.readouterr().err


def test_a_worker_that_has_long_been_silent_does_not_live(sessions):
    report(sessions, socket.gethostname())
    with transaction(sessions) as session:
        row = session.get(WorkerRow, "w1")
        row.heartbeat_at -= timedelta(seconds=workers.ALIVE_SECONDS + 1)
    assert main() == 1


def test_without_a_database_nothing_is_known_to_live(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LENET_DATABASE_URL", f"sqlite:///{tmp_path}/no-folder/lenet.db")
    assert main() == 1
    assert "database" in capsys.readouterr().err
