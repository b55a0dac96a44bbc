"""Requests at the same moment, on both databases."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from api.app import create_app
from api.wiring import open_ports
from core.db.engine import read_clock, transaction
from core.db.migrations import migrate
from core.db.rows import ApiKeyRow, DatasetRow, JobRow, TenantRow
from core.domain.datasets import EntryCounts, ImageSummary, Manifest
from core.domain.identifiers import new_id
from core.settings import Settings

SECRET = "administrator-key-0001"
AT_ONCE = 12


@pytest.fixture(params=["sqlite", "postgresql"])
def ports(request, tmp_path):
    url = f"sqlite:///{tmp_path}/test.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    migrate(url)
    opened = open_ports(
        Settings(data_dir=tmp_path, database_url=url, redis_url="redis://127.0.0.1:1/0", api_key=SECRET)
    )
    yield opened
    opened.outbox.settle()
    opened.sessions.kw["bind"].dispose()


@pytest.fixture
def app(ports):
    return create_app(ports)


@pytest.fixture
def dataset_id(app, ports):
    app.test_client().get("/api/v1/jobs", headers={"Authorization": f"Bearer {SECRET}"})
    manifest = Manifest(
        classes=["a", "b"],
        counts={"train": {"a": 99, "b": 99}, "validation": None, "test": {"a": 9, "b": 9}},
        images=ImageSummary(total=216, modes={"L": 216}, min_size=(28, 28), max_size=(28, 28)),
        color_mode="grayscale",
        warnings=[],
        entries=EntryCounts(accepted=216, rejected=0, ignored=0),
    )
    with transaction(ports.sessions) as session:
        now, identity = read_clock(session), new_id("ds")
        tenant_id = session.scalar(select(TenantRow.id))
        session.add(
            DatasetRow(
                id=identity, tenant_id=tenant_id, name="n", status="ready", size_bytes=1, sha256="0" * 64,
                archive_key="k", attempt=1, created_at=now, updated_at=now, manifest=manifest.model_dump(mode="json"),
                entries=manifest.entries.model_dump(),
            )
        )  # fmt: skip
    return identity


def ask_at_once(app, ask):
    """Let clients ask at the same moment and return the answers."""
    barrier = threading.Barrier(AT_ONCE)

    def run(_):
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {SECRET}"
        barrier.wait()
        return ask(client)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(run, range(AT_ONCE)))


def count(ports, table):
    with transaction(ports.sessions, read_only=True) as session:
        return session.scalar(select(func.count()).select_from(table))


def test_one_idempotency_key_makes_one_job(app, ports, dataset_id):
    answers = ask_at_once(
        app,
        lambda client: client.post("/api/v1/jobs", json={"dataset_id": dataset_id}, headers={"Idempotency-Key": "one"}),
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.get_json()["id"] for answer in answers}) == 1
    assert count(ports, JobRow) == 1


def test_the_same_bytes_make_one_dataset_and_one_archive(app, ports):
    answers = ask_at_once(
        app, lambda client: client.post("/api/v1/datasets", data=b"PK", content_type="application/zip")
    )
    assert sorted(answer.status_code for answer in answers) == [200] * (AT_ONCE - 1) + [202]
    assert len({answer.get_json()["id"] for answer in answers}) == 1
    assert count(ports, DatasetRow) == 1
    assert len(list(ports.store.list())) == 1


def test_the_first_key_is_stored_once(app, ports):
    answers = ask_at_once(app, lambda client: client.get("/api/v1/jobs"))
    assert {answer.status_code for answer in answers} == {200}
    assert count(ports, ApiKeyRow) == 1


def test_a_job_is_cancelled_once_whoever_asks(app, ports, dataset_id):
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {SECRET}"
    url = f"/api/v1/jobs/{client.post('/api/v1/jobs', json={'dataset_id': dataset_id}).get_json()['id']}"
    answers = ask_at_once(app, lambda client: client.post(f"{url}/cancel"))
    assert {answer.status_code for answer in answers} == {202}
    changes = client.get(f"{url}/transitions").get_json()["items"]
    assert [change["after"] for change in changes] == ["queued", "cancelled"]


def test_a_dataset_is_deleted_or_used_and_never_both(app, ports, dataset_id):
    turns = itertools.count()

    def ask(client):
        if next(turns) % 2:
            return client.delete(f"/api/v1/datasets/{dataset_id}")
        return client.post("/api/v1/jobs", json={"dataset_id": dataset_id})

    answers = ask_at_once(app, ask)
    statuses = {answer.status_code for answer in answers}
    assert statuses in ({202, 409}, {204, 404})
    assert bool(count(ports, JobRow)) == bool(count(ports, DatasetRow)) == (202 in statuses)


@pytest.mark.parametrize(
    "query", ["tag=%25", "tag=_", "tag='%20or%201=1", "dataset_id=x--", "status=running", "tag=%F0%9F%90%9D"]
)
def test_filters_are_data(app, dataset_id, query):
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {SECRET}"
    client.post("/api/v1/jobs", json={"dataset_id": dataset_id, "tags": ["🐝", "a_b"]})
    found = client.get(f"/api/v1/jobs?{query}").get_json()["items"]
    assert len(found) == ("%F0" in query)


def test_an_estimate_is_made_on_either_database(app, dataset_id):
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {SECRET}"
    client.post("/api/v1/jobs", json={"dataset_id": dataset_id})
    response = client.post("/api/v1/jobs", json={"dataset_id": dataset_id, "validate_only": True})
    assert response.get_json()["estimate"]["seconds_per_epoch"] is None
    assert client.get("/api/v1/queue").status_code == client.get("/api/v1/workers").status_code == 200


def test_readiness_asks_for_the_tables(app, ports):
    ready = app.test_client().get("/readyz").get_json()
    assert (ready["database"], ready["store"]) == ("ok", "ok")
    from core.db.rows import Row

    Row.metadata.drop_all(ports.sessions.kw["bind"])
    assert app.test_client().get("/readyz").get_json()["database"] != "ok"
