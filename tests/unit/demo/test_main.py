import hashlib
import json
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from client.sdk import Client
from client.transport import Transport
from demo.__main__ import main
from demo.platform import LOG, PlatformError

WEIGHTS = b"weights"
DATASET = {"id": "ds_1", "status": "ready", "classes": ["0", "1"], "counts": {"train": {"0": 3}, "test": {"0": 1}}}
ARTIFACTS = [{"name": name, "sha256": hashlib.sha256(WEIGHTS).hexdigest()} for name in ("model.pth", "model.onnx")]
GUESS = {"class": "0", "class_index": 0, "confidence": 0.9, "top": [{"class": "0", "probability": 0.9}] * 2}


class Platform:
    """Every job runs for one look and has succeeded at the next."""

    accuracy = 0.99
    status = "succeeded"

    def __init__(self):
        self.jobs: dict[str, dict] = {}

    def handle(self, request):
        request.read()
        path = request.url.path.removeprefix("/api/v1")
        if path.startswith("/datasets"):
            return httpx2.Response(200, json=DATASET)
        if path == "/jobs":
            return httpx2.Response(202, json=self.submit(json.loads(request.content)))
        return self.answer(*path.split("/")[2:])

    def submit(self, wanted):
        job = {"id": f"job_{len(self.jobs)}", "status": "running", "name": wanted["name"], "config": wanted["config"]}
        self.jobs[job["id"]] = job
        return job

    def answer(self, job_id, part="", name=""):
        job = self.jobs[job_id]
        if name:
            return httpx2.Response(200, content=WEIGHTS)
        if part == "":
            seen = dict(job)
            job["status"] = self.status
            return httpx2.Response(200, json=seen)
        answers = {
            "report": {"accuracy": self.accuracy},
            "predict": {"predictions": [{"filename": f"{n}.png", **GUESS} for n in range(10)]},
            "artifacts": {"items": ARTIFACTS},
        }
        return httpx2.Response(200, json=answers[part])


@pytest.fixture
def platform():
    return Platform()


@pytest.fixture
def run(platform, tmp_path, monkeypatch):
    """Run the demo on the fake platform and return its exit status."""
    monkeypatch.setattr("demo.pool.POLL_SECONDS", 0.0)

    @contextmanager
    def start(folder):
        (folder / LOG).write_text("the last words")
        with Client(transport=Transport("http://lenet.test", adapter=httpx2.MockTransport(platform.handle))) as client:
            yield client

    return lambda *words: main(["--output", str(tmp_path / "out"), *map(str, words)], start=start)


def test_three_jobs_are_submitted_before_any_is_looked_at_and_all_are_reported(run, platform, capsys):
    assert run() == 0
    shown = capsys.readouterr().out
    assert [job["name"] for job in platform.jobs.values()] == ["lenet5", "lenet5-bn", "lenet-wide"]
    assert shown.count("99.00 %") == 3
    assert "make up" in shown


def test_the_models_lie_where_the_demo_says(run, tmp_path, capsys):
    run()
    shown = "".join(capsys.readouterr().out.split())
    for name in ("lenet5-model.pth", "lenet5-model.onnx"):
        assert (tmp_path / "out" / name).read_bytes() == WEIGHTS
        assert name in shown


def test_a_model_that_is_worse_than_promised_ends_with_1(run, platform, capsys):
    platform.accuracy = 0.9
    assert run() == 1
    assert "lenet5 reached a test accuracy of 90.00 %" in capsys.readouterr().out


def test_other_pictures_may_be_as_hard_as_they_like(run, platform, tmp_path, capsys):
    platform.accuracy = 0.3
    (tmp_path / "own.tar").write_bytes(b"tar")
    assert run("--data", tmp_path / "own.tar") == 0
    assert "unseen" not in capsys.readouterr().out


def test_a_job_that_fails_ends_with_1(run, platform, capsys):
    platform.status = "failed"
    assert run() == 1
    assert "lenet-wide is failed" in capsys.readouterr().out


def test_a_refusal_ends_with_1_and_keeps_the_logs(run, platform, tmp_path, monkeypatch, capsys):
    problem = {"code": "invalid_config", "detail": "No.", "errors": [{"pointer": "/config/epochs", "detail": "big"}]}
    monkeypatch.setattr(platform, "handle", lambda _: httpx2.Response(422, json=problem))
    assert run() == 1
    shown = capsys.readouterr().out
    assert "No. (invalid_config)" in shown
    assert "/config/epochs: big" in shown
    assert "logs are kept" in shown
    assert (tmp_path / "out/logs" / LOG).read_text() == "the last words"


def test_data_that_is_not_there_ends_with_1_before_anything_starts(tmp_path, capsys):
    assert main(["--data", str(tmp_path / "none.zip")], start=pytest.fail) == 1
    assert "none.zip" in capsys.readouterr().out


def test_a_platform_that_does_not_start_ends_with_1(capsys, tmp_path):
    @contextmanager
    def start(_folder):
        raise PlatformError("It ended: no Redis")
        yield

    (tmp_path / "d.zip").touch()
    assert main(["--data", str(tmp_path / "d.zip")], start=start) == 1
    assert "no Redis" in capsys.readouterr().out


def test_ctrl_c_ends_with_1(tmp_path, capsys):
    @contextmanager
    def start(_folder):
        raise KeyboardInterrupt
        yield

    (tmp_path / "d.zip").touch()
    assert main(["--data", str(tmp_path / "d.zip")], start=start) == 1
    assert "stopped" in capsys.readouterr().out


def test_the_picture_shows_the_results_and_fetches_nothing(run, tmp_path):
    run("--picture", tmp_path / "demo.svg")
    picture = (tmp_path / "demo.svg").read_text()
    assert picture.startswith("<svg")
    assert "lenet5-bn" in picture
    assert "url(http" not in picture.replace('"', "")
    assert "@font-face" not in picture


def test_the_demo_leaves_no_temporary_files(run, monkeypatch, tmp_path):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    run()
    assert list(Path(tmp_path / "tmp").iterdir()) == []
