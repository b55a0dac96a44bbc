import hashlib
import os

import httpx2
import pytest

import core.domain.plots
from client.errors import (
    DamagedDownloadError,
    InputError,
    JobCancelledError,
    JobFailedError,
    NotFoundError,
    UnexpectedAnswerError,
    WaitTimeoutError,
)
from client.types import PLOTS

SHA256 = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def artifact(platform):
    listed = {"items": [{"name": "model.pth", "size_bytes": 7, "sha256": SHA256}]}
    platform.on("GET", "/jobs/job_1/artifacts", listed)
    platform.on("GET", "/jobs/job_1/artifacts/model.pth", lambda _: httpx2.Response(200, content=b"weights"))


def test_a_submission_says_what_was_given_and_nothing_else(client, platform, make_job):
    platform.on("POST", "/jobs", httpx2.Response(202, json=make_job("queued")))
    client.jobs.submit("ds_1")
    client.jobs.submit("ds_1", {"epochs": 3}, name="n", priority=0, tags=("a",), from_job="job_0", warm_start=True)
    given = {"name": "n", "priority": 0, "tags": ["a"], "from_job": "job_0", "warm_start": True}
    assert platform.bodies() == [
        {"dataset_id": "ds_1", "config": {}},
        {"dataset_id": "ds_1", "config": {"epochs": 3}, **given},
    ]


def test_a_submission_whose_answer_was_lost_makes_one_job(client, platform, make_job):
    platform.on("POST", "/jobs", httpx2.ReadTimeout("slow"), make_job("queued"))
    assert client.jobs.submit("ds_1").id == "job_1"
    assert len({request.headers["Idempotency-Key"] for request in platform.requests}) == 1


def test_a_validation_stores_nothing_and_gives_the_plan(client, platform):
    plan = {"config": {"epochs": 8}, "layers": [{"name": "c1"}], "estimate": {"total_seconds": 9.0}}
    platform.on("POST", "/jobs", plan)
    assert client.jobs.validate("ds_1", {"epochs": 8}).estimate.total_seconds == 9.0
    assert platform.bodies()[0]["validate_only"] is True
    assert "Idempotency-Key" not in platform.requests[0].headers


def test_jobs_are_found_by_status_dataset_and_tag(client, platform, make_job):
    platform.on("GET", "/jobs", {"items": [make_job()], "next_cursor": None})
    assert [job.id for job in client.jobs.iterate(status="running", dataset_id="ds_1", tag="t")] == ["job_1"]
    params = dict(platform.requests[0].url.params)
    assert params == {"status": "running", "dataset_id": "ds_1", "tag": "t", "limit": "200"}


def test_waiting_tells_each_change_and_gives_the_job(client, platform, make_job):
    half = make_job(progress={"epoch": 1, "epochs": 3, "fraction": 0.3})
    platform.on("GET", "/jobs/job_1", make_job("queued"), half, half, make_job("succeeded"))
    seen = []
    assert client.jobs.wait("job_1", on_update=lambda job: seen.append(job.status)).status == "succeeded"
    assert seen == ["queued", "running", "succeeded"]
    assert platform.waits == [0.5, 0.5, 0.5]


def test_waiting_outlives_a_restart_of_the_api(client, platform, refusal, make_job):
    platform.on("GET", "/jobs/job_1", httpx2.ConnectError("refused"), refusal(503), make_job("succeeded"))
    assert client.jobs.wait("job_1").ended


@pytest.mark.parametrize(("status", "kind"), [("failed", JobFailedError), ("cancelled", JobCancelledError)])
def test_waiting_for_a_job_without_a_model_raises(client, platform, make_job, status, kind):
    platform.on("GET", "/jobs/job_1", make_job(status, error={"code": "diverged", "detail": "The loss is NaN."}))
    with pytest.raises(kind, match="NaN") as caught:
        client.jobs.wait("job_1")
    assert (caught.value.code, caught.value.job.id) == ("diverged", "job_1")


def test_a_cancelled_job_without_a_reason_has_the_code_of_its_kind(client, platform, make_job):
    platform.on("GET", "/jobs/job_1", make_job("cancelled"))
    with pytest.raises(JobCancelledError, match="job_1 cancelled") as caught:
        client.jobs.wait("job_1")
    assert caught.value.code == "job_cancelled"


def test_waiting_ends_at_its_time(client, platform, make_job):
    platform.on("GET", "/jobs/job_1", make_job("paused"))
    with pytest.raises(WaitTimeoutError, match="0 seconds"):
        client.jobs.wait("job_1", timeout_seconds=0)


@pytest.mark.parametrize("action", ["cancel", "pause", "resume", "stop", "retry"])
def test_an_action_is_posted_and_gives_the_job(client, platform, make_job, action):
    platform.on("POST", f"/jobs/job_1/{action}", httpx2.Response(202, json=make_job()))
    assert getattr(client.jobs, action)("job_1").id == "job_1"


def test_a_retry_can_go_on_from_the_checkpoint(client, platform, make_job):
    platform.on("POST", "/jobs/job_1/retry", make_job("queued"))
    client.jobs.retry("job_1", from_checkpoint=True)
    assert platform.bodies() == [{"from": "checkpoint"}]


def test_epochs_are_a_list(client, platform):
    platform.on("GET", "/jobs/job_1/epochs", {"items": [{"epoch": 1, "val_accuracy": 0.5}]})
    assert client.jobs.epochs("job_1")[0].val_accuracy == 0.5


def test_log_lines_are_asked_for_until_there_are_no_more(client, platform):
    batches = [
        {"items": [{"id": 4, "message": "a"}, {"id": 7, "message": "b"}]},
        {"items": [{"id": 9, "message": "c"}]},
    ]
    platform.on("GET", "/jobs/job_1/logs", *batches, {"items": []})
    assert [line.message for line in client.jobs.logs("job_1", after=3)] == ["a", "b", "c"]
    assert [request.url.params["after"] for request in platform.requests] == ["3", "7", "9"]


def test_log_lines_that_do_not_go_on_end(client, platform):
    platform.on("GET", "/jobs/job_1/logs", {"items": [{"id": 4}]})
    assert len(client.jobs.logs("job_1")) == 1


def test_a_list_that_is_none_is_an_unexpected_answer(client, platform):
    platform.on("GET", "/jobs/job_1/epochs", {"epochs": []})
    with pytest.raises(UnexpectedAnswerError, match="items"):
        client.jobs.epochs("job_1")


def test_a_report_names_its_classes(client, platform):
    score = {"class": "a", "precision": 1, "recall": 0.5, "f1": 0.67, "support": 2}
    platform.on("GET", "/jobs/job_1/report", {"accuracy": 0.9, "loss": 0.1, "per_class": [score], "mistakes": []})
    assert client.jobs.report("job_1").per_class[0].class_name == "a"


def test_a_plot_is_a_picture(client, platform):
    platform.on("GET", "/jobs/job_1/plots/history.png", lambda _: httpx2.Response(200, content=b"picture"))
    assert client.jobs.plot("job_1", "history") == b"picture"
    with pytest.raises(NotFoundError):
        client.jobs.plot("job_1", "nothing")


def test_the_plots_are_those_that_the_platform_draws():
    assert PLOTS == core.domain.plots.PLOTS


@pytest.mark.usefixtures("artifact")
def test_a_download_lands_whole_at_its_path(client, tmp_path):
    target = client.jobs.download("job_1", "model.pth", tmp_path / "mine.pth")
    assert target.read_bytes() == b"weights"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.pth"]
    assert target.stat().st_mode & 0o400


@pytest.mark.usefixtures("artifact")
def test_a_download_into_a_folder_keeps_its_name(client, tmp_path):
    assert client.jobs.download("job_1", "model.pth", tmp_path) == tmp_path / "model.pth"


@pytest.mark.usefixtures("artifact")
def test_a_download_that_is_not_what_is_stored_leaves_the_old_file(client, platform, tmp_path):
    platform.on("GET", "/jobs/job_1/artifacts/model.pth", lambda _: httpx2.Response(200, content=b"weighty"))
    (tmp_path / "model.pth").write_bytes(b"old")
    with pytest.raises(DamagedDownloadError, match=SHA256):
        client.jobs.download("job_1", "model.pth", tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("model.pth", b"old")]


@pytest.mark.usefixtures("artifact")
def test_an_artifact_that_is_not_there_leaves_nothing(client, tmp_path):
    with pytest.raises(NotFoundError):
        client.jobs.download("job_1", "model.zip", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("artifact")
def test_a_folder_that_is_not_there_is_refused(client, tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        client.jobs.download("job_1", "model.pth", tmp_path / "none" / "model.pth")


def test_images_are_sent_with_their_names_and_predicted_in_their_order(client, platform, tmp_path):
    for name in ("b.png", "a.png"):
        (tmp_path / name).write_bytes(name.encode())
    found = {"class": "x", "class_index": 0, "confidence": 0.9, "top": [{"class": "x", "probability": 0.9}]}
    predictions = {"predictions": [{"filename": "b.png", **found}, {"filename": "a.png", **found}]}
    platform.on("POST", "/jobs/job_1/predict", predictions)
    answers = client.jobs.predict("job_1", [tmp_path / "b.png", tmp_path / "a.png"], top_k=1)
    assert [(one.filename, one.class_name) for one in answers] == [("b.png", "x"), ("a.png", "x")]
    content = platform.requests[0].content
    assert content.index(b'name="image"; filename="b.png"') < content.index(b'name="image"; filename="a.png"')
    assert platform.requests[0].url.params["top_k"] == "1"


def test_many_images_are_sent_in_several_requests(client, platform, tmp_path):
    (tmp_path / "a.png").write_bytes(b"a")
    one = {"filename": "a.png", "class": "x", "class_index": 0, "confidence": 1}
    platform.on("POST", "/jobs/job_1/predict", {"predictions": [one] * 100}, {"predictions": [one] * 50})
    assert len(client.jobs.predict("job_1", [tmp_path / "a.png"] * 150)) == 150
    assert len(platform.requests) == 2


def test_an_image_that_is_not_there_is_named_and_nothing_is_sent(client, platform, tmp_path):
    with pytest.raises(InputError, match=r"none\.png"):
        client.jobs.predict("job_1", [tmp_path / "none.png"])
    assert platform.requests == []


def test_large_images_are_sent_in_requests_that_the_platform_takes(client, platform, tmp_path, monkeypatch):
    monkeypatch.setattr("client.predicting.BYTES_OF_ONE_REQUEST", 100)
    (tmp_path / "a.png").write_bytes(bytes(40))
    (tmp_path / "large.png").write_bytes(bytes(200))
    one = {"filename": "a.png", "class": "x", "class_index": 0, "confidence": 0.5}
    platform.on(
        "POST", "/jobs/job_1/predict", {"predictions": [one] * 2}, {"predictions": [one]}, {"predictions": [one]}
    )
    names = ["a.png", "a.png", "large.png", "a.png"]
    assert len(client.jobs.predict("job_1", [tmp_path / name for name in names])) == 4


def test_a_name_that_is_no_utf_8_is_sent_as_far_as_it_can_be(client, platform, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(b"x")
    one = {"filename": "a.png", "class": "x", "class_index": 0, "confidence": 0.5}
    platform.on("POST", "/jobs/job_1/predict", {"predictions": [one]})
    assert len(client.jobs.predict("job_1", [path])) == 1
