import hashlib
import io
import json

import pytest

from api import downloads
from core.errors import IntegrityError
from core.storage.keys import artifact

JOBS = "/api/v1/jobs"
WEIGHTS = bytes(range(256)) * 4
REPORT = {"accuracy": 0.75, "confusion_matrix": [[1, 0], [0, 1]]}


@pytest.fixture
def job_id(platform, model_file):
    return platform.make_succeeded_job(
        {
            "model.pth": ("application/octet-stream", WEIGHTS),
            "model.onnx": ("application/octet-stream", model_file),
            "report.json": ("application/json", json.dumps(REPORT).encode()),
        }
    )


def predict(client, job_id, images, query=""):
    parts = [(io.BytesIO(content), filename) for filename, content in images]
    return client.post(f"{JOBS}/{job_id}/predict{query}", data={"image": parts}, content_type="multipart/form-data")


@pytest.mark.parametrize("media_type", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/javascript"])
def test_what_a_browser_would_run_is_downloaded_as_mere_bytes(client, platform, media_type):
    job_id = platform.make_succeeded_job({"page": (media_type, b"<script>alert(1)</script>")})
    response = client.get(f"{JOBS}/{job_id}/artifacts/page")
    assert response.content_type == "application/octet-stream"
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in response.headers["Content-Security-Policy"]


def test_artifacts_are_listed_with_their_hashes(client, job_id):
    items = client.get(f"{JOBS}/{job_id}/artifacts").get_json()["items"]
    assert [item["name"] for item in items] == ["model.onnx", "model.pth", "report.json"]
    assert items[1] == {
        "name": "model.pth",
        "media_type": "application/octet-stream",
        "size_bytes": len(WEIGHTS),
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
    }


def test_an_artifact_is_downloaded_and_never_shown(client, job_id):
    response = client.get(f"{JOBS}/{job_id}/artifacts/model.pth")
    assert (response.status_code, response.data) == (200, WEIGHTS)
    assert response.headers["Content-Disposition"] == "attachment; filename=model.pth"
    assert response.headers["ETag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    assert response.headers["Content-Length"] == str(len(WEIGHTS))
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert response.headers["Cache-Control"] == "private, no-cache"


def test_head_tells_everything_but_the_bytes(client, job_id):
    response = client.head(f"{JOBS}/{job_id}/artifacts/model.pth")
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Content-Length"] == str(len(WEIGHTS))


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=1000-", 1000, 1024), ("bytes=-4", 1020, 1024), ("bytes=1000-5000", 1000, 1024)],
)
def test_a_range_is_served(client, job_id, wanted, start, end):
    response = client.get(f"{JOBS}/{job_id}/artifacts/model.pth", headers={"Range": wanted})
    assert (response.status_code, response.data) == (206, WEIGHTS[start:end])
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/1024"
    assert response.headers["Content-Length"] == str(end - start)


def test_the_whole_as_a_range_is_partial_too(client, job_id):
    response = client.get(f"{JOBS}/{job_id}/artifacts/model.pth", headers={"Range": "bytes=0-"})
    assert (response.status_code, response.data) == (206, WEIGHTS)


@pytest.mark.parametrize("wanted", ["bytes=1024-", "bytes=5000-6000", "bytes=0-1,4-5", "bytes=" + "0-1," * 999 + "0-1"])
def test_a_range_that_cannot_be_served_is_416(client, job_id, wanted):
    response = client.get(f"{JOBS}/{job_id}/artifacts/model.pth", headers={"Range": wanted})
    assert response.status_code == 416
    assert response.content_type == "application/problem+json"
    assert response.headers["Content-Range"] == "bytes */1024"


@pytest.mark.parametrize("wanted", ["lines=0-1", "bytes=x", "bytes=5-2", "nonsense"])
def test_a_range_that_is_none_is_passed_over(client, job_id, wanted):
    assert client.get(f"{JOBS}/{job_id}/artifacts/model.pth", headers={"Range": wanted}).data == WEIGHTS


def test_conditions_are_honoured(client, job_id):
    url = f"{JOBS}/{job_id}/artifacts/model.pth"
    etag = client.get(url).headers["ETag"]
    unchanged = client.get(url, headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.data, unchanged.headers["ETag"]) == (304, b"", etag)
    assert client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.get(url, headers={"If-Match": '"other"'}).status_code == 412
    assert client.get(url, headers={"If-Match": etag}).status_code == 200
    assert client.get(url, headers={"Range": "bytes=0-1", "If-Range": etag}).status_code == 206
    changed = client.get(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert (changed.status_code, changed.data) == (200, WEIGHTS)


@pytest.mark.parametrize("name", ["nothing.bin", "..%2f..%2fetc%2fpasswd", "%00", "a" * 5000, "%2e%2e"])
def test_a_file_that_is_not_there_is_404(client, job_id, name):
    assert client.get(f"{JOBS}/{job_id}/artifacts/{name}").status_code == 404


@pytest.mark.parametrize("part", ["report", "artifacts", "artifacts/model.pth"])
def test_results_of_a_job_that_has_not_succeeded_are_409(client, platform, part):
    response = client.get(f"{JOBS}/{platform.make_job()}/{part}")
    assert (response.status_code, response.get_json()["code"]) == (409, "job_not_succeeded")


def test_the_report_is_what_the_training_wrote(client, job_id):
    assert client.get(f"{JOBS}/{job_id}/report").get_json() == REPORT


def test_images_are_predicted_in_the_order_sent(client, job_id, make_image):
    response = predict(client, job_id, [("dark.png", make_image(0)), ("bright.png", make_image(255, size=(90, 60)))])
    assert response.status_code == 200
    dark, bright = response.get_json()["predictions"]
    assert (dark["filename"], dark["class"], dark["class_index"]) == ("dark.png", "ant", 0)
    assert (bright["filename"], bright["class"], bright["class_index"]) == ("bright.png", "bee", 1)
    assert [ranked["class"] for ranked in bright["top"]] == ["bee", "ant"]
    assert sum(ranked["probability"] for ranked in bright["top"]) == pytest.approx(1.0)
    assert bright["confidence"] == bright["top"][0]["probability"]


def test_top_k_bounds_the_ranking(client, job_id, make_image):
    (prediction,) = predict(client, job_id, [("a.png", make_image(0))], "?top_k=1").get_json()["predictions"]
    assert len(prediction["top"]) == 1
    for query in ("?top_k=0", "?top_k=x", "?topk=1", "?top_k=100000"):
        assert predict(client, job_id, [("a.png", make_image(0))], query).status_code == 422


def test_one_bad_image_fails_the_request_and_is_named(client, job_id, make_image):
    response = predict(client, job_id, [("good.png", make_image(0)), ("bad.png", b"no image"), ("empty.png", b"")])
    assert response.status_code == 422
    errors = response.get_json()["errors"]
    assert [error["pointer"] for error in errors] == ["/image/1", "/image/2"]
    assert "bad.png" in errors[0]["detail"]


def test_an_image_without_a_file_name_gets_one(client, job_id, make_image):
    body = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + make_image(0) + b"\r\n--b--\r\n"
    response = client.post(f"{JOBS}/{job_id}/predict", data=body, content_type="multipart/form-data; boundary=b")
    assert response.get_json()["predictions"][0]["filename"] == "image-0"


def test_a_request_without_an_image_is_422(client, job_id):
    response = client.post(
        f"{JOBS}/{job_id}/predict", data=b"--b--\r\n", content_type="multipart/form-data; boundary=b"
    )
    assert response.status_code == 422
    assert response.get_json()["errors"] == [{"pointer": "/image", "detail": "is missing"}]


def test_an_unknown_field_beside_the_images_is_422(client, job_id, make_image):
    data = {"image": (io.BytesIO(make_image(0)), "a.png"), "url": "file:///etc/passwd"}
    response = client.post(f"{JOBS}/{job_id}/predict", data=data, content_type="multipart/form-data")
    assert response.status_code == 422
    assert response.get_json()["errors"][0]["pointer"] == "/url"


@pytest.mark.parametrize("media_type", ["application/json", "image/png", "application/x-www-form-urlencoded"])
def test_images_come_as_a_form_or_not_at_all(client, job_id, media_type):
    assert client.post(f"{JOBS}/{job_id}/predict", data=b"x", content_type=media_type).status_code == 415


def test_too_many_images_are_413(client, job_id, make_image):
    assert predict(client, job_id, [("a.png", make_image(0))] * 6).status_code == 413
    assert predict(client, job_id, [("a.png", make_image(0))] * 5).status_code == 200


def test_too_many_bytes_are_413(client, job_id):
    assert predict(client, job_id, [("a.png", b"x" * 100_001)]).status_code == 413


def test_a_model_that_was_exchanged_is_never_loaded(client, job_id, platform, make_image, model_file):
    key = artifact(platform.tenant_id, job_id, attempt=1, name="model.onnx")
    platform.store.put(key, io.BytesIO(model_file + b"\0"))
    response = predict(client, job_id, [("a.png", make_image(0))])
    assert (response.status_code, response.get_json()["code"]) == (409, "integrity")


@pytest.mark.parametrize("change", [lambda content: content + b"x", lambda content: content[:-1], lambda content: b"x"])
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-3"}, {"Range": "bytes=-2"}])
def test_a_file_that_was_exchanged_is_not_sent(client, job_id, platform, change, headers):
    key = artifact(platform.tenant_id, job_id, attempt=1, name="model.pth")
    with platform.store.open(key) as file:
        content = file.read()
    platform.store.put(key, io.BytesIO(change(content)))
    response = client.get(f"{JOBS}/{job_id}/artifacts/model.pth", headers=headers)
    assert (response.status_code, response.get_json()["code"]) == (409, "integrity")


def test_a_report_that_was_exchanged_is_not_sent(client, job_id, platform):
    platform.store.put(artifact(platform.tenant_id, job_id, attempt=1, name="report.json"), io.BytesIO(b"{}"))
    response = client.get(f"{JOBS}/{job_id}/report")
    assert (response.status_code, response.get_json()["code"]) == (409, "integrity")


def test_a_long_file_that_was_exchanged_is_not_sent_to_its_end(client, job_id, platform, monkeypatch):
    monkeypatch.setattr(downloads, "_FIRST_CHECKED_BYTES", 0)
    key = artifact(platform.tenant_id, job_id, attempt=1, name="model.pth")
    with platform.store.open(key) as file:
        content = file.read()
    assert client.get(f"{JOBS}/{job_id}/artifacts/model.pth").data == content
    platform.store.put(key, io.BytesIO(bytes(len(content))))
    with pytest.raises(IntegrityError):
        client.get(f"{JOBS}/{job_id}/artifacts/model.pth", buffered=True)


def test_a_model_is_fetched_once_while_it_is_kept(client, job_id, store, make_image, monkeypatch):
    assert predict(client, job_id, [("a.png", make_image(0))]).status_code == 200
    monkeypatch.setattr(store, "open", None)
    assert predict(client, job_id, [("a.png", make_image(0))]).status_code == 200


def test_a_file_that_the_store_has_lost_is_a_problem_and_no_crash(client, job_id, platform, store):
    store.delete(artifact(platform.tenant_id, job_id, attempt=1, name="model.pth"))
    for method in (client.get, client.head):
        response = method(f"{JOBS}/{job_id}/artifacts/model.pth")
        assert response.status_code == 404
