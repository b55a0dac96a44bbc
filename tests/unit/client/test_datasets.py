import tarfile
import zipfile

import httpx2
import pytest

from client.errors import DatasetRejectedError, InputError, UnexpectedAnswerError, WaitTimeoutError

PROCESSING = {"id": "ds_1", "status": "processing", "name": "digits.zip"}
READY = {
    **PROCESSING,
    "status": "ready",
    "classes": ["a", "b"],
    "counts": {"train": {"a": 3, "b": 4}, "test": {"a": 1}},
}
PROBLEM = {"code": "too_few_classes", "detail": "One class.", "errors": [{"pointer": "a/1.png", "detail": "broken"}]}
REJECTED = {**PROCESSING, "status": "rejected", "error": PROBLEM}


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "digits.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("train/a/1.png", b"pixels")
    return path


def test_a_zip_is_sent_as_the_body_under_its_own_name(client, platform, archive):
    platform.on("POST", "/datasets", httpx2.Response(202, json=PROCESSING))
    assert client.datasets.upload(archive).status == "processing"
    request = platform.requests[0]
    assert request.content == archive.read_bytes()
    assert request.headers["Content-Type"] == "application/zip"
    assert request.url.params["name"] == "digits.zip"


def test_a_tar_is_sent_as_a_form(client, platform, tmp_path, archive):
    with tarfile.open(tmp_path / "digits.tar.gz", "w:gz") as opened:
        opened.add(archive)
    platform.on("POST", "/datasets", httpx2.ReadError("reset"), PROCESSING)
    client.datasets.upload(tmp_path / "digits.tar.gz", "named")
    for request in platform.requests:
        assert b'name="file"; filename="digits.tar.gz"' in request.content
        assert (tmp_path / "digits.tar.gz").read_bytes() in request.content
        assert request.url.params["name"] == "named"


def test_an_upload_that_breaks_is_sent_again_under_one_key(client, platform, archive):
    platform.on("POST", "/datasets", httpx2.WriteError("reset"), PROCESSING)
    client.datasets.upload(archive)
    assert len({request.headers["Idempotency-Key"] for request in platform.requests}) == 1
    assert {request.content for request in platform.requests} == {archive.read_bytes()}


def test_an_upload_says_how_far_it_is(client, platform, archive):
    platform.on("POST", "/datasets", PROCESSING)
    seen = []
    client.datasets.upload(archive, on_progress=lambda *sent: seen.append(sent))
    assert seen[-1] == (archive.stat().st_size, archive.stat().st_size)


def test_waiting_gives_the_dataset_once_it_is_ready(client, platform):
    platform.on("GET", "/datasets/ds_1", PROCESSING, PROCESSING, READY)
    seen = []
    dataset = client.datasets.wait("ds_1", on_update=lambda one: seen.append(one.status))
    assert (dataset.images_in("train"), dataset.images_in("test"), dataset.images_in("validation")) == (7, 1, 0)
    assert seen == ["processing", "ready"]


def test_waiting_for_a_rejected_dataset_raises_with_every_reason(client, platform):
    platform.on("GET", "/datasets/ds_1", REJECTED)
    with pytest.raises(DatasetRejectedError, match="One class") as caught:
        client.datasets.wait("ds_1")
    assert caught.value.code == "too_few_classes"
    assert [fault.pointer for fault in caught.value.faults] == ["a/1.png"]


def test_waiting_ends_at_its_time(client, platform):
    platform.on("GET", "/datasets/ds_1", PROCESSING)
    with pytest.raises(WaitTimeoutError):
        client.datasets.wait("ds_1", timeout_seconds=0)


def test_every_page_is_followed(client, platform):
    platform.on("GET", "/datasets", {"items": [READY], "next_cursor": "c2"}, {"items": [REJECTED], "next_cursor": None})
    assert [one.status for one in client.datasets.iterate()] == ["ready", "rejected"]
    assert [request.url.params.get("cursor") for request in platform.requests] == [None, "c2"]


def test_a_page_is_asked_for_only_when_it_is_come_to(client, platform):
    platform.on("GET", "/datasets", {"items": [READY], "next_cursor": "c2"})
    next(client.datasets.iterate())
    assert len(platform.requests) == 1


def test_entries_are_asked_for_by_outcome(client, platform):
    entry = {"path": "a/1.png", "outcome": "rejected", "reason": "broken"}
    platform.on("GET", "/datasets/ds_1/entries", {"items": [entry], "next_cursor": None})
    assert [one.reason for one in client.datasets.entries("ds_1", "rejected")] == ["broken"]
    assert platform.requests[0].url.params["outcome"] == "rejected"


def test_a_preview_is_the_picture_itself(client, platform):
    platform.on("GET", "/datasets/ds_1/preview", httpx2.Response(200, content=b"\x89PNG"))
    assert client.datasets.preview("ds_1") == b"\x89PNG"


def test_fields_that_are_new_are_kept(client, platform):
    platform.on("GET", "/datasets/ds_1", {**READY, "color_space": "srgb"})
    assert client.datasets.get("ds_1").model_extra == {"color_space": "srgb"}


@pytest.mark.parametrize("answer", [{"status": "ready"}, [], "ready", {**READY, "counts": 7}])
def test_what_is_no_dataset_is_an_unexpected_answer(client, platform, answer):
    platform.on("GET", "/datasets/ds_1", answer)
    with pytest.raises(UnexpectedAnswerError, match="Dataset"):
        client.datasets.get("ds_1")


@pytest.mark.parametrize("word", ["", "..", "a/b", "a?b", "a%2fb", "a\nb"])
def test_an_id_cannot_name_another_path(client, platform, word):
    with pytest.raises(InputError):
        client.datasets.delete(word)
    assert platform.requests == []
