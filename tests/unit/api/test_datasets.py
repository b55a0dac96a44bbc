import io
import re

import pytest
from sqlalchemy import func, select

from core.db.engine import transaction
from core.db.rows import DatasetEntryRow, DatasetRow
from core.domain.datasets import DatasetStatus
from core.errors import StoreUnavailableError, UnavailableError
from core.services import datasets

DATASETS = "/api/v1/datasets"
ARCHIVE = b"PK\x03\x04 an archive"
BOUNDARY = "----boundary"


def upload(client, content=ARCHIVE, query="?name=insects", **headers):
    return client.post(f"{DATASETS}{query}", data=content, content_type="application/zip", headers=headers)


def make_form(*parts, end=True):
    """Build a form of (name, filename, content) by hand."""
    pieces = []
    for name, filename, content in parts:
        file = f'; filename="{filename}"' if filename is not None else ""
        pieces.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode())
        pieces.append(content + b"\r\n")
    return b"".join(pieces) + (f"--{BOUNDARY}--\r\n".encode() if end else b"")


def send_form(client, form, query=""):
    return client.post(f"{DATASETS}{query}", data=form, content_type=f"multipart/form-data; boundary={BOUNDARY}")


def count_rows(sessions):
    with transaction(sessions, read_only=True) as session:
        return session.query(DatasetRow).count()


def assert_nothing_stays(sessions, store):
    assert count_rows(sessions) == 0
    assert list(store.list()) == []


def test_an_upload_is_stored_and_read_in_the_background(client, store, sent):
    response = upload(client)
    assert response.status_code == 202
    dataset = response.get_json()
    assert response.headers["Location"] == f"{DATASETS}/{dataset['id']}"
    assert dataset["name"] == "insects"
    assert dataset["status"] == "processing"
    assert dataset["size_bytes"] == len(ARCHIVE)
    assert dataset["error"] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", dataset["created_at"])
    assert [(message.queue, message.resource_id) for message in sent()] == [("ingest", dataset["id"])]
    (stored,) = store.list()
    with store.open(stored.key) as file:
        assert file.read() == ARCHIVE
    assert client.get(response.headers["Location"]).get_json() == dataset


def test_a_form_uploads_its_file_under_the_files_name(client):
    form = make_form(("file", "C:\\folder\\../insects\u202e.zip", ARCHIVE))
    response = send_form(client, form)
    assert response.status_code == 202
    assert response.get_json()["name"] == "insects.zip"
    assert client.get(f"{response.headers['Location']}/archive").data == ARCHIVE


def test_a_form_with_a_large_file_arrives_whole(client):
    content = b"PK" + bytes(range(256)) * 700 + b"\r\n--" + BOUNDARY.encode()[:-2]
    response = send_form(client, make_form(("file", "a.zip", content)))
    assert response.status_code == 202
    assert client.get(f"{response.headers['Location']}/archive").data == content


def test_the_same_bytes_again_give_the_dataset_that_is_there(client, store, sent):
    first = upload(client).get_json()
    again = upload(client, query="?name=other")
    assert again.status_code == 200
    assert again.get_json() == first
    assert len(list(store.list())) == 1
    assert len(sent()) == 1


def test_the_same_bytes_of_another_tenant_are_another_dataset(client, platform):
    first = upload(client).get_json()
    response = upload(client, **platform.make_headers("train", tenant="others"))
    assert response.status_code == 202
    assert response.get_json()["id"] != first["id"]


@pytest.mark.parametrize(
    ("form", "status"),
    [
        (make_form(("file", "a.zip", ARCHIVE), end=False), 400),
        (make_form(("file", "a.zip", ARCHIVE))[:-12], 400),
        (make_form(("file", "a.zip", ARCHIVE))[:70], 400),
        (b"no form at all", 400),
        (make_form(), 422),
        (make_form(("archive", "a.zip", ARCHIVE)), 422),
        (make_form(("file", "a.zip", ARCHIVE), ("file", "b.zip", ARCHIVE)), 422),
        (make_form(("file", "a.zip", ARCHIVE), ("name", None, b"insects")), 422),
        (make_form(("file", "a.zip", ARCHIVE), ("a", None, b""), ("b", None, b"")), 422),
        (make_form(("file", "a.zip", b"")), 422),
        (make_form(("file", "a.zip", b"x" * 300_000)), 413),
        (make_form(("file", "a.zip", b"x" * 210_000)), 413),
        (b"--" + BOUNDARY.encode() + b"\r\n" + b"X-Endless: x\r\n" * 30_000, 413),
        (b"--" + BOUNDARY.encode() + b"\r\nX-Nothing: x\r\n\r\nabc", 400),
    ],
)
def test_a_form_that_is_not_one_whole_file_leaves_nothing(client, sessions, store, form, status):
    response = send_form(client, form)
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    assert_nothing_stays(sessions, store)


def test_a_form_without_a_boundary_is_400(client):
    response = client.post(DATASETS, data=b"x", content_type="multipart/form-data")
    assert response.status_code == 400


def test_a_body_that_is_cut_short_leaves_nothing(client, sessions, store):
    response = client.post(
        DATASETS,
        input_stream=io.BytesIO(ARCHIVE),
        content_type="application/zip",
        environ_overrides={"CONTENT_LENGTH": str(len(ARCHIVE) + 10)},
    )
    assert response.status_code == 400
    assert response.get_json()["code"] == "body_cut_short"
    assert_nothing_stays(sessions, store)


def test_a_chunked_body_over_the_limit_leaves_nothing(client, sessions, store):
    response = client.post(
        DATASETS,
        input_stream=io.BytesIO(b"x" * 300_000),
        content_type="application/zip",
        environ_overrides={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
    )
    assert response.status_code == 413
    assert_nothing_stays(sessions, store)


def test_a_body_announced_as_too_large_is_refused_unread(client, sessions, store):
    stream = io.BytesIO(b"x")
    response = client.post(
        DATASETS,
        input_stream=stream,
        content_type="application/zip",
        environ_overrides={"CONTENT_LENGTH": str(10**10)},
    )
    assert response.status_code == 413
    assert_nothing_stays(sessions, store)


def test_an_empty_archive_leaves_nothing(client, sessions, store):
    response = upload(client, b"")
    assert response.status_code == 422
    assert response.get_json()["code"] == "empty_archive"
    assert_nothing_stays(sessions, store)


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "image/png", "application/json", None])
def test_a_body_that_is_no_archive_by_its_type_is_415(client, media_type):
    assert client.post(DATASETS, data=ARCHIVE, content_type=media_type).status_code == 415


@pytest.mark.parametrize("query", ["?nmae=x", "?name=", "?name=" + "x" * 256])
def test_a_faulty_query_is_422(client, query, sessions, store):
    assert upload(client, query=query).status_code == 422
    assert_nothing_stays(sessions, store)


def test_a_commit_of_which_nobody_knows_keeps_the_archive(client, store, monkeypatch):
    from core.services import datasets

    def fail(*_, **__):
        raise UnavailableError("The database does not answer.", code="database_unavailable")

    monkeypatch.setattr(datasets, "register_dataset", fail)
    response = upload(client)
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert len(list(store.list())) == 1, "a row may stand for it in a moment; else the collection takes it"


def test_a_store_in_trouble_is_503_and_leaves_no_row(make_client, store, sessions, monkeypatch):
    def fail(*_, **__):
        raise StoreUnavailableError("The store does not answer.")

    monkeypatch.setattr(store, "put", fail)
    response = upload(make_client())
    assert response.status_code == 503
    assert response.get_json()["code"] == "store_unavailable"
    assert count_rows(sessions) == 0


def test_the_same_idempotency_key_and_body_give_the_first_answer(client, store, sent):
    first = upload(client, **{"Idempotency-Key": "one"})
    again = upload(client, **{"Idempotency-Key": "one"})
    assert (again.status_code, again.get_json()) == (202, first.get_json())
    assert again.headers["Location"] == first.headers["Location"]
    assert len(list(store.list())) == 1
    assert len(sent()) == 1


def test_the_same_idempotency_key_and_another_body_is_422_and_leaves_nothing_more(client, store, sessions):
    upload(client, **{"Idempotency-Key": "one"})
    response = upload(client, b"PK other", **{"Idempotency-Key": "one"})
    assert response.status_code == 422
    assert response.get_json()["code"] == "idempotency_key_reused"
    assert len(list(store.list())) == count_rows(sessions) == 1


def test_a_ready_dataset_shows_what_reading_it_found(client, platform):
    dataset = client.get(f"{DATASETS}/{platform.make_dataset()}").get_json()
    assert dataset["status"] == "ready"
    assert dataset["classes"] == ["ant", "bee"]
    assert dataset["counts"] == {
        "train": {"ant": 300, "bee": 300},
        "validation": None,
        "test": {"ant": 20, "bee": 20},
    }
    assert dataset["images"] == {"total": 640, "modes": {"L": 640}, "min_size": [28, 28], "max_size": [28, 28]}
    assert dataset["color_mode"] == "grayscale"
    assert dataset["entries"] == {"accepted": 640, "rejected": 0, "ignored": 1}


def test_a_rejected_dataset_keeps_every_reason(client, platform):
    error = {"code": "no_images", "detail": "No image.", "errors": [{"pointer": "a.png", "detail": "is broken"}]}
    dataset_id = platform.make_dataset(status=DatasetStatus.REJECTED, error=error)
    dataset = client.get(f"{DATASETS}/{dataset_id}").get_json()
    assert dataset["status"] == "rejected"
    assert dataset["error"]["code"] == "no_images"
    assert dataset["error"]["errors"] == error["errors"]


def test_lists_are_newest_first_and_paged(client, platform):
    ids = [platform.make_dataset() for _ in range(5)]
    seen, cursor = [], ""
    while cursor is not None:
        page = client.get(f"{DATASETS}?limit=2{cursor and f'&cursor={cursor}'}").get_json()
        seen += [dataset["id"] for dataset in page["items"]]
        cursor = page["next_cursor"]
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=-1", "limit=x", "limit=1.5", "cursor=%25", "cursor='", "lmit=5"]
)
def test_a_faulty_page_is_422(client, query):
    response = client.get(f"{DATASETS}?{query}")
    assert response.status_code == 422
    assert response.get_json()["errors"][0]["pointer"] == f"/{query.split('=')[0]}"


def test_deleting_takes_rows_and_objects(client, store):
    location = upload(client).headers["Location"]
    assert client.delete(location).status_code == 204
    assert client.get(location).status_code == 404
    assert client.delete(location).status_code == 404
    assert list(store.list()) == []


def test_deleting_succeeds_though_the_store_is_in_trouble(client, store, monkeypatch):
    location = upload(client).headers["Location"]

    def fail(*_):
        raise StoreUnavailableError("The store does not answer.")

    monkeypatch.setattr(store, "delete_prefix", fail)
    assert client.delete(location).status_code == 204


def test_a_dataset_in_use_cannot_be_deleted(client, platform):
    dataset_id = platform.make_dataset()
    job_id = platform.make_job(dataset_id=dataset_id)
    response = client.delete(f"{DATASETS}/{dataset_id}")
    assert response.status_code == 409
    assert response.get_json()["code"] == "dataset_in_use"
    client.post(f"/api/v1/jobs/{job_id}/cancel")
    assert client.delete(f"{DATASETS}/{dataset_id}").status_code == 204


def test_the_archive_is_offered_for_download_under_a_name_of_ours(client):
    location = upload(client, query='?name=a"%0d%0ab.zip').headers["Location"]
    response = client.get(f"{location}/archive")
    dataset_id = location.rsplit("/", 1)[-1]
    assert response.data == ARCHIVE
    assert response.headers["Content-Disposition"] == f"attachment; filename={dataset_id}.zip"
    assert response.headers["Content-Type"] == "application/zip"
    assert client.get(f"{location}/archive", headers={"Range": "bytes=0-1"}).data == b"PK"


def test_a_rejected_archive_is_not_offered(client, platform):
    dataset_id = platform.make_dataset(status=DatasetStatus.REJECTED, error={"code": "x", "detail": "y"})
    response = client.get(f"{DATASETS}/{dataset_id}/archive")
    assert (response.status_code, response.get_json()["code"]) == (409, "dataset_rejected")


@pytest.mark.parametrize(
    ("status", "code"),
    [(DatasetStatus.PROCESSING, "dataset_not_ready"), (DatasetStatus.REJECTED, "dataset_rejected")],
)
def test_a_preview_is_there_once_the_dataset_is_ready(client, platform, status, code):
    dataset_id = platform.make_dataset(
        status=status, error={"code": "x", "detail": "y"} if "rejected" in code else None
    )
    response = client.get(f"{DATASETS}/{dataset_id}/preview")
    assert (response.status_code, response.get_json()["code"]) == (409, code)


def test_a_preview_is_a_picture(client, platform, store, make_image):
    picture = make_image(9)
    store.put("tenants/t/preview", io.BytesIO(picture))
    dataset_id = platform.make_dataset(preview_key="tenants/t/preview")
    response = client.get(f"{DATASETS}/{dataset_id}/preview")
    assert (response.data, response.content_type) == (picture, "image/png")


@pytest.fixture
def with_entries(platform, sessions):
    dataset_id = platform.make_dataset()
    with transaction(sessions) as session:
        for position in range(5):
            session.add(
                DatasetEntryRow(
                    dataset_id=dataset_id,
                    position=position,
                    path=f"train/<b>/{position}.png",
                    outcome="accepted" if position % 2 else "ignored",
                    reason=None if position % 2 else "hidden",
                    split="train",
                    class_name="<b>",
                )
            )
    return f"{DATASETS}/{dataset_id}/entries"


def test_the_ledger_is_listed_in_the_archives_order(client, with_entries):
    first = client.get(f"{with_entries}?limit=3").get_json()
    assert [entry["position"] for entry in first["items"]] == [0, 1, 2]
    assert first["items"][0] == {
        "position": 0,
        "path": "train/<b>/0.png",
        "outcome": "ignored",
        "reason": "hidden",
        "split": "train",
        "class": "<b>",
        "width": None,
        "height": None,
        "mode": None,
    }
    rest = client.get(f"{with_entries}?limit=3&cursor={first['next_cursor']}").get_json()
    assert [entry["position"] for entry in rest["items"]] == [3, 4]
    assert rest["next_cursor"] is None


def test_the_ledger_can_be_asked_for_one_outcome(client, with_entries):
    page = client.get(f"{with_entries}?outcome=accepted").get_json()
    assert [entry["position"] for entry in page["items"]] == [1, 3]
    assert client.get(f"{with_entries}?outcome=other").status_code == 422
    assert client.get(f"{with_entries}?cursor=-1").status_code == 422


def test_a_store_that_does_not_answer_is_not_asked_a_second_time(client, store, monkeypatch):
    def fail(*_, **__):
        raise StoreUnavailableError("The store does not answer.")

    monkeypatch.setattr(store, "put", fail)
    monkeypatch.setattr(store, "delete_prefix", lambda _: pytest.fail("the client waits"))
    assert upload(client).status_code == 503


def test_a_long_ledger_is_deleted_in_pieces(client, platform, sessions, monkeypatch):
    monkeypatch.setattr(datasets, "_ENTRIES_AT_ONCE", 2)
    dataset_id = platform.make_dataset()
    with transaction(sessions) as session:
        taken = session.scalar(select(func.coalesce(func.max(DatasetEntryRow.position), -1)))
        for number in range(5):
            entry = {"position": taken + 1 + number, "path": f"{number}.png", "outcome": "accepted"}
            session.add(DatasetEntryRow(dataset_id=dataset_id, **entry))
    assert client.delete(f"{DATASETS}/{dataset_id}").status_code == 204
    with transaction(sessions, read_only=True) as session:
        assert session.query(DatasetEntryRow).count() == 0
