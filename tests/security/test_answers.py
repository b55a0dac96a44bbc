"""A54, A60-A62, A65, A66, A77, A81, A85: what goes out."""

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

import pytest
from chaos.processes import until
from chaos.squares import write_squares
from sqlalchemy import text

PAGE = b"<!DOCTYPE html><script>alert(document.domain)</script>"
POLYGLOT = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + PAGE
SAFE_NAME = re.compile(r'attachment; filename="?[A-Za-z0-9._-]+"?')


def check_inert(answer, *, status: int = 200) -> None:
    """Fail where a browser could make more of a download than a file to be saved."""
    assert answer.status_code == status, answer.text
    headers = answer.headers
    assert SAFE_NAME.fullmatch(headers["Content-Disposition"]), headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"].startswith("private")
    assert "Server" not in headers
    assert not {"text/html", "image/svg+xml", "application/xhtml+xml"} & {headers["Content-Type"].split(";")[0]}


@contextmanager
def uploaded(visitor, name: str, content: bytes) -> Iterator[str]:
    """Upload something under a name, wait until it was looked at, give its id, and delete it."""
    headers = {"Content-Type": "application/octet-stream"}
    sent = visitor.call("POST", "/datasets", params={"name": name}, content=content, headers=headers)
    assert sent.status_code == 202, sent.text
    path = f"/datasets/{sent.json()['id']}"
    try:
        until(lambda: visitor.get(path)["status"] != "processing", "the archive was looked at", 120)
        yield sent.json()["id"]
    finally:
        assert visitor.call("DELETE", path).status_code == 204


@pytest.mark.parametrize("content", [POLYGLOT, PAGE, b"PK\x03\x04" + PAGE], ids=["JPEG", "HTML", "ZIP"])
def test_a54_a_page_that_is_no_archive_is_never_given_back(bob, leaves, content):
    leaves(audit_events=2)
    with uploaded(bob, "page.html", content) as dataset_id:
        answer = bob.call("GET", f"/datasets/{dataset_id}/archive")
        assert (answer.status_code, answer.json()["code"]) == (409, "dataset_rejected")
        assert PAGE not in answer.content


@pytest.mark.parametrize(
    "name",
    [
        "a\r\nSet-Cookie: x=1",
        "a\nb",
        '"; filename="evil.html',
        "\u202egnp.exe",
        "../../x",
        "a;b=c",
        "\x1b[31m",
        "\u00e4\u2603",
    ],
)
def test_a60_a_name_never_becomes_a_header(bob, leaves, name, tmp_path):
    leaves(audit_events=2)
    archive = write_squares(tmp_path / "squares.zip", seed=crc32(name.encode()))
    with uploaded(bob, name, archive.read_bytes()) as dataset_id:
        answer = bob.call("GET", f"/datasets/{dataset_id}/archive")
        check_inert(answer)
        assert dataset_id in answer.headers["Content-Disposition"]
        assert "Set-Cookie" not in answer.headers


@contextmanager
def called(estate, name: str, media_type: str) -> Iterator[None]:
    """Have an artifact called something else in the database, as a worker that was taken over could."""
    change = text("UPDATE artifacts SET media_type = :media_type WHERE job_id = :job_id AND name = :name")
    where = {"job_id": estate.victim.job_id, "name": name}
    with estate.fortress.engine.begin() as connection:
        old = connection.execute(
            text("SELECT media_type FROM artifacts WHERE job_id = :job_id AND name = :name"), where
        ).scalar_one()
        connection.execute(change, where | {"media_type": media_type})
    try:
        yield
    finally:
        with estate.fortress.engine.begin() as connection:
            connection.execute(change, where | {"media_type": old})


@pytest.mark.parametrize(
    "media_type", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "x\r\ny", ""]
)
def test_a61_an_artifact_that_a_browser_would_run_is_bytes_to_be_saved(estate, alice, victim, media_type):
    with called(estate, "config.json", media_type):
        answer = alice.call("GET", f"/jobs/{victim.job_id}/artifacts/config.json")
    check_inert(answer)
    assert answer.headers["Content-Type"] == "application/octet-stream"


def test_a61_every_artifact_and_the_archive_are_inert(alice, victim):
    names = [item["name"] for item in alice.get(f"/jobs/{victim.job_id}/artifacts")["items"]]
    assert "history.csv" in names
    for name in names:
        check_inert(alice.call("GET", f"/jobs/{victim.job_id}/artifacts/{name}"))
    check_inert(alice.call("GET", f"/datasets/{victim.dataset_id}/archive"))


RANGES = {
    "a thousand": ("bytes=" + ",".join(f"{n}-{n}" for n in range(700)), (200, 416)),
    "overlapping": ("bytes=0-,0-,0-", (416,)),
    "negative": ("bytes=-5", (206,)),
    "past the end": (f"bytes={10**15}-", (416,)),
    "from the end to the start": ("bytes=9-3", (200, 416)),
    "of 5000 digits": ("bytes=" + "9" * 5000 + "-", (200, 416)),
    "not numbers": ("bytes=a-b", (200, 416)),
    "another unit": ("pages=1-2", (200,)),
    "all but nothing": ("bytes=-0", (200, 416)),
    "twice negative": ("bytes=--5", (200, 416)),
    "minus": ("bytes=-", (200, 416)),
}


@pytest.mark.parametrize("name", RANGES)
def test_a62_ranges_are_one_or_none(alice, victim, name):
    wanted, statuses = RANGES[name]
    for path in (f"/jobs/{victim.job_id}/artifacts/model.onnx", f"/datasets/{victim.dataset_id}/archive"):
        answer = alice.call("GET", path, headers={"Range": wanted})
        assert answer.status_code in statuses, (name, answer.status_code)
        if answer.status_code == 206:
            assert len(answer.content) == 5


def test_a65_a_job_that_goes_on_has_no_artifacts_yet(estate):
    carol = estate.visitor("carol")
    for rest in ("artifacts", "artifacts/model.pth", "report", "predict"):
        method = "POST" if rest == "predict" else "GET"
        files = {"image": ("a.png", b"x", "image/png")} if rest == "predict" else None
        answer = carol.call(method, f"/jobs/{estate.slow_job_id}/{rest}", files=files)
        assert (answer.status_code, answer.json()["code"]) == (409, "job_not_succeeded")


def test_a65_a_deleted_job_has_none_any_more(estate, alice, victim, leaves):
    leaves(audit_events=3, device_use=1)
    job_id = estate.submit("alice", victim.dataset_id)
    alice.call("POST", f"/jobs/{job_id}/cancel")
    estate.wait("alice", job_id, "cancelled", "succeeded", "failed")
    assert alice.call("DELETE", f"/jobs/{job_id}").status_code == 204
    for rest in ("", "/artifacts", "/artifacts/model.pth", "/report"):
        assert alice.call("GET", f"/jobs/{job_id}{rest}").status_code == 404


PATHS = [
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%252f..%252fetc%252fpasswd",
    "model.pth%00",
]
PATHS += [
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "..\\..\\etc\\passwd",
    "model.pth/..",
    "file:%2f%2f%2fetc%2fpasswd",
    "%ff",
]


@pytest.mark.parametrize("path", PATHS)
def test_a66_an_artifact_has_a_name_and_no_path(alice, victim, path):
    answer = alice.call("GET", f"/jobs/{victim.job_id}/artifacts/{path}")
    assert answer.status_code == 404 or answer.url.path.rstrip("/").endswith("/artifacts")
    assert "root:" not in answer.text


def test_a66_nor_does_it_as_raw_bytes(estate, raw, victim):
    for path in ("../../../../etc/passwd", "%00", "..%00/", "a" * 200):
        line = f"GET /api/v1/jobs/{victim.job_id}/artifacts/{path} HTTP/1.1"
        key = f"Authorization: Bearer {estate.keys['alice', 'train']}"
        (answer,) = raw(f"{line}\r\nHost: 127.0.0.1\r\n{key}\r\nConnection: close\r\n\r\n".encode())
        assert answer.status == 404


DEBUGGING = [
    "/console",
    "/?__debugger__=yes&cmd=resource&f=debugger.js",
    "/flower",
    "/api/workers",
    "/debug/pprof",
    "/_debug",
]
DEBUGGING += [
    "/docs/v0",
    "/api/v0/jobs",
    "/api/v2/jobs",
    "/api/v1beta/jobs",
    "/swagger.json",
    "/openapi.yaml",
    "/redoc",
    "/graphql",
]
DEBUGGING += ["/admin", "/.git/config", "/.env", "/server-status", "/actuator", "/openapi", "/static/../api/server.py"]


@pytest.mark.parametrize("path", DEBUGGING)
def test_a77_there_are_no_debuggers_monitors_or_old_versions(nobody, administrator, path):
    assert nobody.ask("GET", path).status_code in (401, 404)
    assert administrator.ask("GET", path).status_code == 404


def test_a81_the_history_holds_numbers_and_moments_alone(alice, victim):
    """It is the only table that is given away as CSV; nothing in it was ever written by a person."""
    answer = alice.call("GET", f"/jobs/{victim.job_id}/artifacts/history.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert rows
    for row in rows:
        for name, value in row.items():
            assert re.fullmatch(r"-?[0-9.]+(e-?[0-9]+)?|nan|[0-9T:.-]+Z|", value), (name, value)
            assert not value.startswith(("=", "+", "@"))


def test_a85_metrics_are_there_for_administrators_alone(estate, nobody, administrator, leaves):
    leaves(audit_events=2)  # who tried with a key that is none of an administrator's
    hidden = nobody.ask("GET", "/metrics")
    assert hidden.status_code == 404
    assert hidden.json()["detail"] == nobody.ask("GET", "/nothing").json()["detail"]
    for scope in ("read", "train"):
        assert estate.visitor("bob", scope).ask("GET", "/metrics").status_code == 404
    assert "lenet_jobs{" in administrator.ask("GET", "/metrics").text


@pytest.mark.parametrize(
    "path", ["/api/v1/jobs", "/healthz", "/nothing", "/docs", "/openapi.json", "/api/v1/jobs/job_0"]
)
def test_every_answer_is_bound_to_what_it_is(alice, path):
    headers = alice.ask("GET", path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Server" not in headers
