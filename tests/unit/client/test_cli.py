import hashlib
import json
import os
import subprocess
import sys
import zipfile

import httpx2
import pytest
from typer.testing import CliRunner

from client.cli import app
from client.sdk import Client
from client.types import PLOTS

READY = {"id": "ds_1", "status": "ready", "name": "digits", "classes": ["a"], "counts": {"train": {"a": 3}}}
MEMBER = {"job_id": "job_1", "status": "succeeded", "test_accuracy": 0.9, "weight": 1.0}
ENSEMBLE = {"id": "ens_1", "status": "ready", "name": "three", "members": [MEMBER], "test_accuracy": 0.95}
EVALUATION = {"id": "eval_1", "status": "succeeded", "job_id": "job_1", "metrics": {"accuracy": 0.5, "images": 4}}
MODEL = {"name": "digits", "last_version": 2, "aliases": [{"alias": "production", "version": 2, "set_by": "key_1"}]}
VERSION = {"version": 1, "name": "digits", "job_id": "job_1"}
REJECTED = {**READY, "status": "rejected", "error": {"code": "too_few_classes", "detail": "One class."}}


@pytest.fixture
def lenet(open_transport):
    """Run a command against the fake platform."""
    runner = CliRunner()

    def run(*words):
        return runner.invoke(app, [str(word) for word in words], obj=lambda: Client(transport=open_transport()))

    return run


@pytest.fixture
def archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "digits.zip", "w") as opened:
        opened.writestr("train/a/1.png", b"pixels")
    return tmp_path / "digits.zip"


READS = {
    ("datasets", "list"): ("/datasets", {"items": [READY], "next_cursor": None}),
    ("datasets", "show", "ds_1"): ("/datasets/ds_1", READY),
    ("datasets", "entries", "ds_1"): ("/datasets/ds_1/entries", {"items": [{"path": "p", "outcome": "accepted"}]}),
    ("jobs", "list"): ("/jobs", {"items": [{"id": "job_1", "status": "queued"}], "next_cursor": None}),
    ("jobs", "show", "job_1"): ("/jobs/job_1", {"id": "job_1", "status": "queued"}),
    ("jobs", "epochs", "job_1"): ("/jobs/job_1/epochs", {"items": [{"epoch": 1}]}),
    ("jobs", "logs", "job_1"): ("/jobs/job_1/logs", {"items": [{"id": 1, "message": "m"}]}),
    ("report", "job_1"): ("/jobs/job_1/report", {"accuracy": 0.9}),
    ("artifacts", "job_1"): ("/jobs/job_1/artifacts", {"items": [{"name": "model.pth"}]}),
    ("keys", "list"): ("/keys", {"items": [{"id": "key_1", "name": "ci"}], "next_cursor": None}),
    ("keys", "show", "key_1"): ("/keys/key_1", {"id": "key_1", "name": "ci", "scopes": ["read"]}),
    ("tenants", "list"): ("/tenants", {"items": [{"id": "tenant_1", "name": "lab"}], "next_cursor": None}),
    ("tenants", "quota", "tenant_1"): ("/tenants/tenant_1/quota", {"tenant_id": "tenant_1"}),
    ("quota",): ("/quota", {"tenant_id": "tenant_1", "stored_bytes": {"limit": 9, "used": 1, "own": True}}),
    ("audit",): ("/audit", {"items": [{"id": "audit_1", "action": "job.cancel"}], "next_cursor": None}),
    ("ensembles", "list"): ("/ensembles", {"items": [ENSEMBLE], "next_cursor": None}),
    ("ensembles", "show", "ens_1"): ("/ensembles/ens_1", ENSEMBLE),
    ("evaluations", "list"): ("/evaluations", {"items": [EVALUATION], "next_cursor": None}),
    ("evaluations", "show", "eval_1"): ("/evaluations/eval_1", EVALUATION),
    ("evaluations", "report", "eval_1"): ("/evaluations/eval_1/report", {"accuracy": 0.9}),
    ("models", "list"): ("/models", {"items": [MODEL], "next_cursor": None}),
    ("models", "show", "digits"): ("/models/digits", MODEL),
    ("models", "versions", "digits"): ("/models/digits/versions", {"items": [VERSION], "next_cursor": None}),
    ("models", "history", "digits"): ("/models/digits/history", {"items": [{"alias": "production", "after": 1}]}),
    ("models", "history", "digits", "production"): (
        "/models/digits/aliases/production/history",
        {"items": [{"alias": "production", "before": 1, "after": 2}]},
    ),
    ("workers",): ("/workers", {"items": [{"name": "w1"}]}),
    ("queue",): ("/queue", {"items": [{"name": "cpu", "depth": 1}]}),
}


@pytest.mark.parametrize("words", READS)
def test_a_read_prints_with_json_what_the_platform_answered(lenet, platform, words):
    path, answer = READS[words]
    platform.on("GET", path, answer)
    result = lenet(*words, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == answer.get("items", answer)


@pytest.mark.parametrize("words", READS)
def test_a_read_prints_a_table_for_people(lenet, platform, words):
    path, answer = READS[words]
    platform.on("GET", path, answer)
    result = lenet(*words)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.strip()


@pytest.mark.parametrize("words", [words for words, (_, answer) in READS.items() if "items" in answer])
def test_an_empty_list_says_so(lenet, platform, words):
    platform.on("GET", READS[words][0], {"items": [], "next_cursor": None})
    assert lenet(*words).stdout.strip()
    assert json.loads(lenet(*words, "--json").stdout) == []


def test_a_list_ends_at_its_limit(lenet, platform):
    platform.on("GET", "/jobs", {"items": [{"id": f"job_{n}", "status": "queued"} for n in range(9)]})
    assert len(json.loads(lenet("jobs", "list", "--limit", 2, "--json").stdout)) == 2


def test_an_upload_waits_and_shows_the_dataset(lenet, platform, archive):
    platform.on("POST", "/datasets", {**READY, "status": "processing"})
    platform.on("GET", "/datasets/ds_1", READY)
    result = lenet("datasets", "upload", archive, "--name", "mine")
    assert result.exit_code == 0
    assert "ready" in result.stdout
    assert platform.requests[0].url.params["name"] == "mine"


def test_an_upload_that_is_not_waited_for_is_shown_as_it_is(lenet, platform, archive):
    platform.on("POST", "/datasets", {**READY, "status": "processing"})
    assert json.loads(lenet("datasets", "upload", archive, "--no-wait", "--json").stdout)["status"] == "processing"


def test_an_upload_that_is_rejected_ends_with_1_and_the_reason(lenet, platform, archive):
    platform.on("POST", "/datasets", REJECTED)
    platform.on("GET", "/datasets/ds_1", REJECTED)
    result = lenet("datasets", "upload", archive)
    assert result.exit_code == 1
    assert "One class." in result.stderr


def test_a_preview_is_saved(lenet, platform, tmp_path):
    platform.on("GET", "/datasets/ds_1/preview", httpx2.Response(200, content=b"\x89PNG"))
    assert lenet("datasets", "preview", "ds_1", "-o", tmp_path / "p.png").exit_code == 0
    assert (tmp_path / "p.png").read_bytes() == b"\x89PNG"


@pytest.mark.parametrize("words", [("datasets", "delete", "ds_1"), ("jobs", "delete", "job_1")])
def test_a_deletion_says_so(lenet, platform, words):
    platform.on("DELETE", f"/{words[0]}/{words[2]}", httpx2.Response(204))
    assert "is deleted" in lenet(*words).stdout


@pytest.mark.parametrize("action", ["cancel", "pause", "resume", "stop", "retry"])
def test_an_action_shows_the_job(lenet, platform, make_job, action):
    platform.on("POST", f"/jobs/job_1/{action}", make_job("queued"))
    assert json.loads(lenet("jobs", action, "job_1", "--json").stdout)["status"] == "queued"


def test_train_submits_what_was_said(lenet, platform, make_job, tmp_path):
    (tmp_path / "c.toml").write_text("epochs = 3")
    platform.on("POST", "/jobs", make_job("queued"))
    words = ["--config", tmp_path / "c.toml", "--set", "optimizer.learning_rate=0.01", "--name", "n", "--tag", "t"]
    result = lenet("train", "ds_1", *words, "--priority", 0, "--no-watch", "--json")
    assert json.loads(result.stdout)["id"] == "job_1"
    config = {"epochs": 3, "optimizer": {"learning_rate": 0.01}}
    given = {"dataset_id": "ds_1", "config": config, "name": "n", "priority": 0, "tags": ["t"]}
    assert platform.bodies() == [given]


def test_train_shows_each_epoch_in_a_line_where_there_is_no_terminal(lenet, platform, make_job):
    platform.on("POST", "/jobs", make_job("queued"))
    epochs = [make_job(progress={"epoch": n, "epochs": 2}, metrics={"val_accuracy": n / 2}) for n in (1, 2)]
    platform.on("GET", "/jobs/job_1", make_job("queued"), *epochs, make_job("succeeded"))
    result = lenet("train", "ds_1")
    assert result.exit_code == 0
    assert "first  running  epoch 1/2  validation accuracy 50.00 %\n" in result.stdout
    assert "first  succeeded\n" in result.stdout
    assert "\x1b" not in result.stdout


def test_train_with_json_prints_the_job_at_its_end_and_nothing_else(lenet, platform, make_job):
    platform.on("POST", "/jobs", make_job("queued"))
    platform.on("GET", "/jobs/job_1", make_job(), make_job("succeeded"))
    assert json.loads(lenet("train", "ds_1", "--json").stdout)["status"] == "succeeded"


@pytest.mark.parametrize("words", [("train", "ds_1"), ("train", "ds_1", "--json"), ("jobs", "watch", "job_1")])
def test_a_job_that_fails_ends_with_1_and_the_reason(lenet, platform, make_job, words):
    platform.on("POST", "/jobs", make_job("queued"))
    platform.on("GET", "/jobs/job_1", make_job("failed", error={"code": "diverged", "detail": "NaN."}))
    result = lenet(*words)
    assert result.exit_code == 1
    assert "lenet: job_1 failed: NaN. (diverged)" in result.stderr


def test_ctrl_c_ends_the_watching_and_says_how_to_go_on(lenet, platform):
    def interrupt(_request):
        raise KeyboardInterrupt

    platform.on("GET", "/jobs/job_1", interrupt)
    result = lenet("jobs", "watch", "job_1")
    assert result.exit_code == 130
    assert "lenet jobs watch job_1" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("train", "ds_1", "--set", "dropout=1e999"),
        ("train", "ds_1", "--config", "dated.toml"),
        ("keys", "create", "ci", "--days", "3000000"),
    ],
)
def test_what_cannot_be_sent_ends_with_2_and_says_so(lenet, platform, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dated.toml").write_text("epochs = 2026-11-27\n")
    result = lenet(*words)
    assert result.exit_code == 2, result
    assert "cannot end" in result.stderr or "no JSON" in result.stderr
    assert platform.bodies() == []


def test_a_dry_run_shows_the_plan_and_queues_nothing(lenet, platform):
    layers = [{"name": "c1", "shape": [6, 28, 28], "weights": 156}]
    platform.on("POST", "/jobs", {"config": {"epochs": 8}, "layers": layers, "estimate": {"total_seconds": 75.0}})
    result = lenet("train", "ds_1", "--dry-run")
    assert "6×28×28" in result.stdout
    assert "1 min 15 s" in result.stdout
    assert platform.bodies()[0]["validate_only"] is True


def test_a_prediction_names_each_image(lenet, platform, tmp_path):
    (tmp_path / "a.png").write_bytes(b"a")
    one = {"filename": "a.png", "class": "seven", "class_index": 0, "confidence": 0.5}
    platform.on("POST", "/jobs/job_1/predict", {"predictions": [one]})
    assert "seven" in lenet("predict", "job_1", tmp_path / "a.png").stdout
    assert json.loads(lenet("predict", "job_1", tmp_path / "a.png", "--json").stdout) == [one]


def put_plots(platform, status):
    platform.on("GET", "/jobs/job_1", {"id": "job_1", "status": status})
    for name in PLOTS:
        platform.on("GET", f"/jobs/job_1/plots/{name}.png", lambda _: httpx2.Response(200, content=b"x"))


@pytest.mark.parametrize(
    ("status", "names"), [("succeeded", PLOTS), ("running", ("history",)), ("failed", ("history",))]
)
def test_plots_without_a_name_are_all_that_are_there(lenet, platform, tmp_path, status, names):
    put_plots(platform, status)
    result = lenet("plots", "job_1", "-o", tmp_path / "new")
    assert result.stdout.splitlines() == [str(tmp_path / "new" / f"{name}.png") for name in names]
    assert {path.name for path in (tmp_path / "new").iterdir()} == {f"{name}.png" for name in names}


def test_plots_that_are_named_are_saved(lenet, platform, tmp_path):
    put_plots(platform, "succeeded")
    assert lenet("plots", "job_1", "filters", "mistakes", "-o", tmp_path).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["filters.png", "mistakes.png"]
    assert lenet("plots", "job_1", "../../etc/passwd", "-o", tmp_path).exit_code != 0


@pytest.mark.parametrize(("again", "status"), [(b"same", 0), (b"else", 1)])
def test_a_reproduction_says_whether_the_weights_are_equal(lenet, platform, again, status):
    header = b'{"w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}'
    for job_id, numbers in (("job_1", b"same"), ("job_2", again)):
        content = len(header).to_bytes(8, "little") + header + numbers
        listed = {"items": [{"name": "model.safetensors", "sha256": hashlib.sha256(content).hexdigest()}]}
        platform.on("GET", f"/jobs/{job_id}", {"id": job_id, "status": "succeeded", "dataset_id": "ds_1"})
        platform.on("GET", f"/jobs/{job_id}/attempts", {"items": []})
        platform.on("GET", f"/jobs/{job_id}/report", {"provenance": {"config": "{}", "seed": job_id}})
        platform.on("GET", f"/jobs/{job_id}/artifacts", listed)
        platform.on("GET", f"/jobs/{job_id}/artifacts/model.safetensors", httpx2.Response(200, content=content))
    platform.on("POST", "/jobs", httpx2.Response(202, json={"id": "job_2", "status": "queued"}))
    told = lenet("reproduce", "job_1")
    assert told.exit_code == status
    assert ("equal to the bit" in told.stdout) == (status == 0)
    assert "seed" in told.stdout
    as_json = lenet("reproduce", "job_1", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["equal_weights"]) == (status, status == 0)


def test_a_download_without_a_name_takes_every_file(lenet, platform, tmp_path):
    platform.on("GET", "/jobs/job_1/artifacts", {"items": [{"name": "model.pth"}, {"name": "config.json"}]})
    for name in ("model.pth", "config.json"):
        platform.on("GET", f"/jobs/job_1/artifacts/{name}", lambda _: httpx2.Response(200, content=b"x"))
    assert lenet("download", "job_1", "-o", tmp_path / "new").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["config.json", "model.pth"]


def test_a_download_of_one_file_says_where_it_is(lenet, platform, tmp_path):
    platform.on("GET", "/jobs/job_1/artifacts", {"items": [{"name": "model.pth"}]})
    platform.on("GET", "/jobs/job_1/artifacts/model.pth", httpx2.Response(200, content=b"x"))
    assert lenet("download", "job_1", "model.pth", "-o", tmp_path / "m").stdout.strip() == str(tmp_path / "m")


def test_a_folder_that_cannot_be_made_ends_with_2(lenet, platform, tmp_path):
    (tmp_path / "file").touch()
    platform.on("GET", "/jobs/job_1/artifacts", {"items": []})
    assert lenet("download", "job_1", "-o", tmp_path / "file" / "new").exit_code == 2


def test_a_refusal_ends_with_1_and_lists_every_fault(lenet, platform, refusal):
    faults = [{"pointer": "/config/epochs", "detail": "too many"}, {"pointer": "/config/a", "detail": "unknown"}]
    platform.on("POST", "/jobs", refusal(422, "invalid_config", "The config cannot be trained.", errors=faults))
    result = lenet("train", "ds_1")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "lenet: The config cannot be trained. (invalid_config, request req_1)",
        "  /config/epochs: too many",
        "  /config/a: unknown",
    ]


def test_a_key_that_is_not_valid_says_where_to_put_one(lenet, platform, refusal):
    platform.on("GET", "/jobs", refusal(401))
    result = lenet("jobs", "list")
    assert result.exit_code == 1
    assert "LENET_API_KEY" in result.stderr


@pytest.mark.parametrize("trouble", [httpx2.ConnectError("refused"), 503])
def test_a_platform_that_cannot_be_reached_ends_with_3(lenet, platform, refusal, trouble):
    platform.on("GET", "/jobs", refusal(trouble) if isinstance(trouble, int) else trouble)
    result = lenet("jobs", "list")
    assert result.exit_code == 3
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("train",),
        ("jobs", "dance"),
        ("train", "ds_1", "--set", "epochs"),
        ("train", "ds_1", "--priority", "10"),
        ("datasets", "upload", "/none/such.zip"),
        ("predict", "job_1", "/none/such.png"),
        ("jobs", "show", "../keys"),
    ],
)
def test_a_command_that_cannot_be_understood_ends_with_2(lenet, platform, words):
    result = lenet(*words)
    assert result.exit_code == 2
    assert result.stderr
    assert platform.requests == []


def test_a_url_that_is_none_ends_with_2():
    result = CliRunner().invoke(app, ["--url", "lenet.test", "queue"])
    assert result.exit_code == 2
    assert "http://127.0.0.1:8000" in result.stderr


def test_the_version_is_printed():
    assert CliRunner().invoke(app, ["--version"]).stdout.strip()


def test_the_help_says_what_the_exit_statuses_mean():
    assert "Exit status" in CliRunner().invoke(app, ["--help"]).stdout


def test_the_help_loads_neither_http_nor_the_types():
    program = "import sys, client.cli; print([name for name in ('httpx2', 'pydantic') if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_up_hands_over_to_the_embedded_platform(monkeypatch, tmp_path):
    called = []
    monkeypatch.setattr(os, "execv", lambda *command: called.append(command))
    CliRunner().invoke(app, ["up", "--port", "0", "--data-dir", str(tmp_path)])
    words = [sys.executable, "-m", "embedded", "up", "--port", "0", "--data-dir", str(tmp_path)]
    assert called == [(sys.executable, words)]


def test_up_without_the_server_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "celery" else object())
    result = CliRunner().invoke(app, ["up"])
    assert result.exit_code == 2
    assert "lenet-platform[embedded]" in result.stderr
    assert "celery" in result.stderr
