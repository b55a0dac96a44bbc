"""A56-A59: pictures that are none, and addresses that lead inwards."""

import base64
import io
import socket

import pytest
from PIL import Image
from security.estate import make_picture


def picture(mode: str, size: tuple[int, int], form: str = "PNG") -> bytes:
    """Return an even picture as a file."""
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, form)
    return buffer.getvalue()


def predict(visitor, victim, *contents: bytes):
    """Ask what some files show."""
    files = [("image", (f"{number}.png", content, "image/png")) for number, content in enumerate(contents)]
    return visitor.call("POST", f"/jobs/{victim.job_id}/predict", files=files)


ODD = {
    "nothing": b"",
    "no picture": b"\x00" * 1000,
    "a script": b"<script>alert(1)</script>",
    "a cut picture": make_picture()[: len(make_picture()) // 2],
    "a head alone": make_picture()[:30],
    "too many pixels": picture("1", (9459, 9459)),
}


@pytest.mark.parametrize("name", ODD)
def test_a56_what_is_no_picture_is_refused_and_named(alice, victim, name):
    answer = predict(alice, victim, ODD[name])
    assert answer.status_code == 422
    assert "0.png" in answer.text


def test_a56_one_bad_picture_among_good_ones_is_named(alice, victim):
    answer = predict(alice, victim, make_picture(), b"bad", make_picture())
    assert answer.status_code == 422
    assert "1.png" in answer.text


@pytest.mark.parametrize(
    ("mode", "size"),
    [("L", (1, 1)), ("L", (100_000, 1)), ("L", (1, 100_000)), ("RGBA", (28, 28)), ("CMYK", (28, 28)), ("I;16", (9, 9))],
)
def test_a56_odd_sizes_and_modes_are_converted_as_the_contract_says_or_refused(alice, victim, mode, size):
    answer = predict(alice, victim, picture(mode, size, "JPEG" if mode == "CMYK" else "PNG"))
    assert answer.status_code in (200, 422)
    if answer.status_code == 200:
        assert 0 <= answer.json()["predictions"][0]["confidence"] <= 1


def test_a56_no_picture_at_all_is_refused(alice, victim):
    path = f"/jobs/{victim.job_id}/predict"
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    assert alice.call("POST", path, content=b"--b--\r\n", headers=form).status_code in (400, 422)
    assert alice.call("POST", path).status_code == 415


@pytest.mark.parametrize(
    "body",
    [
        {"image": base64.b64encode(bytes(3 * 2**20)).decode()},
        {"image": "data:image/png;base64," + base64.b64encode(make_picture()).decode()},
        {"url": "http://127.0.0.1/a.png"},
        {"image": {"url": "file:///etc/passwd"}},
    ],
    ids=["base64", "data URI", "URL", "nested URL"],
)
def test_a57_pictures_come_as_files_and_in_no_other_way(alice, victim, body):
    assert alice.call("POST", f"/jobs/{victim.job_id}/predict", json=body).status_code == 415


@pytest.fixture
def listener():
    """Listen on a port of this machine, and see at the end that nobody came."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        yield server.getsockname()[1]
        with pytest.raises(TimeoutError):
            server.accept()


INWARDS = ["http://127.0.0.1:{port}/", "http://[::1]:{port}/", "http://2130706433:{port}/", "http://0177.0.0.1:{port}/"]
INWARDS += [
    "http://localhost:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_",
]
INWARDS += ["ftp://127.0.0.1:{port}/a.zip", "\\\\127.0.0.1\\share", "s3://bucket/archive.zip"]


@pytest.mark.parametrize("url", INWARDS)
def test_a58_no_field_takes_an_address(alice, victim, listener, url):
    url = url.format(port=listener)
    for field in ("url", "source", "dataset_url", "callback", "callback_url", "webhook", "proxy"):
        body = {"dataset_id": victim.dataset_id, field: url}
        assert alice.call("POST", "/jobs", json=body).status_code == 422
        assert (
            alice.call("POST", "/jobs", json={"dataset_id": victim.dataset_id, "config": {field: url}}).status_code
            == 422
        )
        zipped = {"Content-Type": "application/zip"}
        assert alice.call("POST", "/datasets", params={field: url}, content=b"PK", headers=zipped).status_code == 422
    assert alice.call("POST", "/jobs", json={"dataset_id": url}).status_code == 422
    assert alice.call("POST", "/datasets", json={"url": url}).status_code == 415
    answer = alice.call("POST", "/datasets", content=url.encode(), headers={"Content-Type": "text/uri-list"})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "field", ["bucket", "endpoint", "key", "archive_key", "access_key", "store_url", "path", "region"]
)
def test_a59_no_field_takes_a_place_in_the_store(alice, victim, field):
    for value in ("other-bucket", "tenants/other/datasets/ds_0/archive", "../../etc/passwd"):
        assert alice.call("POST", "/jobs", json={"dataset_id": victim.dataset_id, field: value}).status_code == 422
        zipped = {"Content-Type": "application/zip"}
        assert alice.call("POST", "/datasets", params={field: value}, content=b"PK", headers=zipped).status_code == 422
