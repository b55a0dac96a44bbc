import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing

import psutil
import pytest

from core.db.engine import open_engine, open_sessions, transaction
from core.db.rows import DatasetRow

SECRET = "administrator-key-0001"
MEBIBYTE = 2**20


def count_datasets(folder):
    engine = open_engine(f"sqlite:///{folder}/lenet.db")
    with transaction(open_sessions(engine), read_only=True) as session:
        count = session.query(DatasetRow).count()
    engine.dispose()
    return count


def send_raw(port, *pieces):
    """Send pieces and give back the open connection."""
    link = socket.create_connection(("127.0.0.1", port), timeout=20)
    for piece in pieces:
        link.sendall(piece)
    return link


def head(path="/api/v1/datasets", **headers):
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {SECRET}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


def settle(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def test_it_answers_and_says_nothing_of_itself(server):
    status, headers, body = server.request("GET", "/healthz")
    assert (status, json.loads(body)) == (200, {"status": "ok"})
    assert "Server" not in headers
    assert server.fetch("GET", "/api/v1/jobs")[0] == 200


@pytest.mark.parametrize(("option", "status"), [("--help", 0), ("--port", 2)])
def test_the_command_explains_itself_and_refuses_what_it_has_not(option, status):
    ended = subprocess.run(
        [sys.executable, "-m", "api.server", option], capture_output=True, text=True, timeout=20, check=False
    )
    assert (ended.returncode, "python -m api.server" in ended.stdout + ended.stderr) == (status, True)


def test_a_port_that_is_taken_is_said_in_one_line(server):
    environment = {**os.environ, "LENET_API_PORT": str(server.port), "LENET_DATA_DIR": str(server.folder)}
    ended = subprocess.run(
        [sys.executable, "-m", "api.server"], env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert ended.returncode == 1
    assert "LENET_API_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def start(**settings):
    """Run the server until it ends by itself, and return its status and what it complained of."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LENET_")}
    given = {f"LENET_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "api.server"]
    ended = subprocess.run(command, env={**kept, **given}, capture_output=True, text=True, timeout=30, check=False)
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", ""])
def test_without_a_key_of_the_operators_it_listens_to_this_machine_alone(tmp_path, host):
    status, complaint = start(api_host=host, api_port=0, data_dir=tmp_path)
    assert status == 1
    assert "LENET_API_KEY is not set" in complaint
    assert "LENET_API_HOST" in complaint
    assert complaint.count("\n") == 1


def test_with_a_key_it_listens_to_others(run_server):
    with run_server(api_host="0.0.0.0") as server:
        assert server.request("GET", "/healthz", headers={"Host": "anything.example"})[0] == 200
        assert server.fetch("GET", "/api/v1/jobs")[0] == 200


def test_nobody_on_the_loopback_address_is_taken_for_a_proxy(server):
    forged = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "6.6.6.6",
        "Script-Name": "/evil",
        "X-Real-IP": "6.6.6.6",
    }
    status, headers, _ = server.request(
        "POST", "/api/v1/datasets?name=proxied", b"PK proxied", {"Content-Type": "application/zip", **forged}
    )
    assert status == 202
    assert headers["Location"].startswith("/api/v1/datasets/")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
        link.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nSCRIPT_NAME: /evil\r\nConnection: close\r\n\r\n")
        assert link.recv(100).startswith(b"HTTP/1.1 200")


FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\nPK'


CUT_UPLOADS = [
    ({"Content-Type": "application/zip", "Content-Length": 3 * MEBIBYTE}, b"x" * 2 * MEBIBYTE),
    ({"Content-Type": "application/zip", "Transfer-Encoding": "chunked"}, b"100000\r\n" + b"x" * MEBIBYTE + b"\r\n"),
    ({"Content-Type": "multipart/form-data; boundary=b", "Content-Length": 5000}, FORM),
    ({"Content-Type": "multipart/form-data; boundary=b", "Transfer-Encoding": "chunked"}, b"4f\r\n" + FORM),
]


def test_an_upload_whose_client_dies_leaves_nothing(run_server):
    with run_server() as server:
        for headers, body in CUT_UPLOADS:
            send_raw(server.port, head(**headers), body).close()
        log = server.folder / "server.log"
        settle(lambda: log.read_text().count("status=400") == len(CUT_UPLOADS))
        assert server.objects() == []
        assert count_datasets(server.folder) == 0
        assert "Traceback" not in log.read_text()


def test_a_whole_upload_in_chunks_is_taken(server):
    body = iter([b"PK", b"x" * MEBIBYTE, b"y"])
    status, _, answer = server.request("POST", "/api/v1/datasets", body, {"Content-Type": "application/zip"})
    assert status == 202
    assert json.loads(answer)["size_bytes"] == MEBIBYTE + 3


@pytest.mark.parametrize("key", [SECRET, "wrong-key-000000000"])
def test_a_client_that_is_refused_sees_the_answer_though_it_still_sends(run_server, key):
    with run_server(max_upload_bytes=1000) as server:
        headers = {"Content-Type": "application/zip", "Authorization": f"Bearer {key}"}
        status, _, body = server.request("POST", "/api/v1/datasets", b"x" * 20 * MEBIBYTE, headers)
        assert status == (413 if key == SECRET else 401)
        assert json.loads(body)["status"] == status


def test_slow_uploads_hold_nobody_up(server):
    with ExitStack() as stack:
        for _ in range(20):
            given = head(**{"Content-Type": "application/zip", "Content-Length": 1000})
            stack.enter_context(send_raw(server.port, given, b"x"))
        began = time.monotonic()
        assert server.fetch("GET", "/api/v1/jobs")[0] == 200
        assert time.monotonic() - began < 2


def test_a_redis_that_hangs_holds_no_request_up(run_server):
    with ExitStack() as stack:
        hanging = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server = stack.enter_context(run_server(redis_url=f"redis://127.0.0.1:{hanging.getsockname()[1]}/0"))
        for content in (b"PK1", b"PK2", b"PK3"):
            began = time.monotonic()
            assert server.request("POST", "/api/v1/datasets", content, {"Content-Type": "application/zip"})[0] == 202
            assert time.monotonic() - began < 2
        began = time.monotonic()
        status, ready = server.fetch("GET", "/readyz")
        assert time.monotonic() - began < 5
        assert (status, ready["database"], ready["store"]) == (503, "ok", "ok")
        assert ready["redis"] != "ok"


def test_it_ends_soon_though_somebody_listens_to_events(run_server):
    from core.db.rows import JobRow, JobTransitionRow

    with run_server() as server:
        server.fetch("GET", "/api/v1/jobs")
        engine = open_engine(f"sqlite:///{server.folder}/lenet.db")
        with transaction(open_sessions(engine)) as session:
            from core.db.engine import read_clock
            from core.services.keys import ensure_tenant

            now = read_clock(session)
            session.add(
                JobRow(
                    id="job_0", tenant_id=ensure_tenant(session, "default"), dataset_id="ds_0", name="n", tags=[],
                    config={}, priority=5, queue="cpu", status="queued", max_attempts=3, created_at=now, updated_at=now,
                )
            )  # fmt: skip
            session.flush()
            session.add(
                JobTransitionRow(job_id="job_0", at=now, before=None, after="queued", attempt=0, actor="x", reason="y")
            )
        engine.dispose()
        (worker,) = server.processes()
        link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        with closing(link):
            link.request("GET", "/api/v1/jobs/job_0/events", headers={"Authorization": f"Bearer {SECRET}"})
            stream = link.getresponse()
            assert b"event: status" in stream.read1()
            began = time.monotonic()
            psutil.Process(worker.ppid()).send_signal(signal.SIGTERM)
            stream.read()
        psutil.wait_procs([worker], 8)
        assert time.monotonic() - began < 6


def test_several_processes_start_together_on_an_empty_database(run_server):
    with run_server(api_processes=2) as server:
        threads, statuses = [], []
        for _ in range(8):
            thread = threading.Thread(target=lambda: statuses.append(server.fetch("GET", "/api/v1/jobs")[0]))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
        assert statuses == [200] * 8


def test_an_upload_takes_no_memory_to_speak_of(server):
    server.request("POST", "/api/v1/datasets", b"PK", {"Content-Type": "application/zip"})
    (worker,) = server.processes()
    before = worker.memory_info().rss
    block = bytes(MEBIBYTE)
    for headers, first, last in [
        ({"Content-Type": "application/zip"}, b"PK raw", b"x"),
        ({"Content-Type": "multipart/form-data; boundary=b"}, FORM, b"\r\n--b--\r\n"),
    ]:
        body = iter([first, *[block] * 150, last])
        status, _, _ = server.request("POST", "/api/v1/datasets", body, headers, timeout=60)
        assert status == 202
        assert worker.memory_info().rss - before < 50 * MEBIBYTE
