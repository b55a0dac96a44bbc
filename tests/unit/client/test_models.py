"""Ensembles, evaluations and named models: the SDK and its commands."""

import json

import httpx2
import pytest
from typer.testing import CliRunner

from client.cli import app
from client.errors import ConflictError, EnsembleFailedError, EvaluationFailedError, InputError, WaitTimeoutError
from client.sdk import Client

PNG = b"\x89PNG"
VOTE = {
    "filename": "a.png",
    "class": "bee",
    "class_index": 1,
    "confidence": 0.5,
    "agreement": 0.5,
    "votes": [{"job_id": "job_1", "class": "bee", "confidence": 0.75}],
}


def ensemble(status="ready", **more):
    return {"id": "ens_1", "status": status, "members": [{"job_id": "job_1", "status": "succeeded"}], **more}


def evaluation(status="succeeded", **more):
    return {"id": "eval_1", "status": status, **more}


@pytest.fixture
def lenet(open_transport):
    """Run a command against the fake platform."""
    runner = CliRunner()

    def run(*words):
        return runner.invoke(app, [str(word) for word in words], obj=lambda: Client(transport=open_transport()))

    return run


@pytest.fixture
def image(tmp_path):
    (tmp_path / "a.png").write_bytes(b"pixels")
    return tmp_path / "a.png"


# Ensembles.


def test_an_ensemble_says_what_was_given_and_nothing_else(client, platform):
    platform.on("POST", "/ensembles", httpx2.Response(201, json=ensemble()))
    client.ensembles.create(["job_1", "job_2"])
    client.ensembles.create(["job_1", "job_2"], voting="hard", weights=(1, 2.5), name="n")
    client.ensembles.train("ds_1", [{"epochs": 1}, {}], priority=0, tags=("t",))
    assert platform.bodies() == [
        {"job_ids": ["job_1", "job_2"]},
        {"job_ids": ["job_1", "job_2"], "voting": "hard", "weights": [1, 2.5], "name": "n"},
        {"dataset_id": "ds_1", "members": [{"epochs": 1}, {}], "priority": 0, "tags": ["t"]},
    ]
    assert all("Idempotency-Key" in request.headers for request in platform.requests)


def test_an_ensemble_is_waited_for(client, platform):
    platform.on("GET", "/ensembles/ens_1", ensemble("training"), ensemble("training"), ensemble())
    seen = []
    assert client.ensembles.wait("ens_1", on_update=lambda one: seen.append(one.status)).status == "ready"
    assert seen == ["training", "ready"]
    platform.on("GET", "/ensembles/ens_1", ensemble("training"))
    with pytest.raises(WaitTimeoutError):
        client.ensembles.wait("ens_1", timeout_seconds=0)


def test_an_ensemble_that_fails_says_which_member_and_why(client, platform):
    error = {
        "code": "member_failed",
        "detail": "job_2 failed.",
        "errors": [{"pointer": "/members/1", "detail": "job_2 failed: NaN."}],
    }
    platform.on("GET", "/ensembles/ens_1", ensemble("failed", error=error))
    with pytest.raises(EnsembleFailedError, match="job_2 failed") as caught:
        client.ensembles.wait("ens_1")
    assert (caught.value.code, caught.value.faults[0].pointer) == ("member_failed", "/members/1")
    assert caught.value.ensemble.id == "ens_1"


def test_votes_come_with_each_answer(client, platform, image):
    platform.on("POST", "/ensembles/ens_1/predict", {"predictions": [VOTE]})
    (answer,) = client.ensembles.predict("ens_1", [image], top_k=2)
    assert (answer.class_name, answer.agreement, answer.votes[0].class_name) == ("bee", 0.5, "bee")
    assert platform.requests[0].url.params["top_k"] == "2"


def test_a_zip_stands_for_its_images_and_goes_by_itself(client, platform, image, tmp_path):
    (tmp_path / "many.ZIP").write_bytes(b"PK")
    one = {"filename": "x", "class": "bee", "class_index": 1, "confidence": 1}
    answers = [{"predictions": [one] * count} for count in (2, 5, 1)]
    platform.on("POST", "/jobs/job_1/predict", *answers)
    assert len(client.jobs.predict("job_1", [image, image, tmp_path / "many.ZIP", image])) == 8
    fields = [request.content.count(b'name="archive"') for request in platform.requests]
    assert fields == [0, 1, 0]


def test_an_ensemble_is_downloaded_whole_or_not_at_all(client, platform, tmp_path):
    platform.on("GET", "/ensembles/ens_1/artifacts/model.onnx", httpx2.Response(200, content=b"graph"))
    assert client.ensembles.download("ens_1", tmp_path) == tmp_path / "model.onnx"
    assert (tmp_path / "model.onnx").read_bytes() == b"graph"
    with pytest.raises(InputError, match="cannot be written"):
        client.ensembles.download("ens_1", tmp_path / "none" / "model.onnx")


def test_a_file_that_is_being_made_is_waited_for_and_another_refusal_is_not(client, platform, refusal, tmp_path):
    path = "/ensembles/ens_1/artifacts/model.onnx"
    platform.on("GET", path, refusal(409, "ensemble_file_not_ready"), httpx2.Response(200, content=b"graph"))
    assert client.ensembles.download("ens_1", tmp_path).read_bytes() == b"graph"
    assert platform.waits == [0.5]
    platform.on("GET", path, refusal(409, "ensemble_not_ready"))
    with pytest.raises(ConflictError):
        client.ensembles.download("ens_1", tmp_path)


def test_ensembles_are_listed_shown_and_deleted(client, platform):
    platform.on("GET", "/ensembles", {"items": [ensemble()], "next_cursor": None})
    platform.on("DELETE", "/ensembles/ens_1", httpx2.Response(204))
    assert [one.id for one in client.ensembles.iterate()] == ["ens_1"]
    client.ensembles.delete("ens_1")
    with pytest.raises(InputError):
        client.ensembles.get("../jobs")


def test_the_commands_of_ensembles(lenet, platform, image, tmp_path):
    for number in (1, 2):
        (tmp_path / f"{number}.toml").write_text(f"epochs = {number}")
    platform.on("POST", "/ensembles", ensemble("training"))
    platform.on("GET", "/ensembles/ens_1", ensemble(test_accuracy=0.975))
    platform.on("POST", "/ensembles/ens_1/predict", {"predictions": [VOTE]})
    platform.on("GET", "/ensembles/ens_1/artifacts/model.onnx", lambda _: httpx2.Response(200, content=b"graph"))
    platform.on("DELETE", "/ensembles/ens_1", httpx2.Response(204))
    configs = [word for number in (1, 2) for word in ("--config", tmp_path / f"{number}.toml")]
    assert "97.50 %" in lenet("ensembles", "train", "ds_1", *configs, "--hard").stdout
    lenet("ensembles", "train", "ds_1", *configs, "--no-wait")
    lenet("ensembles", "create", "job_1", "job_2", "--weight", 1, "--weight", 2, "--name", "n")
    bodies = [json.loads(request.content) for request in platform.requests if request.method == "POST"]
    assert bodies == [
        {"dataset_id": "ds_1", "members": [{"epochs": 1}, {"epochs": 2}], "voting": "hard"},
        {"dataset_id": "ds_1", "members": [{"epochs": 1}, {"epochs": 2}]},
        {"job_ids": ["job_1", "job_2"], "weights": [1.0, 2.0], "name": "n"},
    ]
    assert "bee 75.0 %" in lenet("ensembles", "predict", "ens_1", image).stdout
    assert lenet("ensembles", "download", "ens_1", "-o", tmp_path / "m").stdout.strip() == str(tmp_path / "m")
    assert "is deleted" in lenet("ensembles", "delete", "ens_1").stdout


def test_a_cast_that_fails_ends_with_1_and_every_reason(lenet, platform, tmp_path):
    (tmp_path / "c.json").write_text("{}")
    error = {"code": "member_cancelled", "detail": "No.", "errors": [{"pointer": "/members/0", "detail": "job_1"}]}
    platform.on("POST", "/ensembles", ensemble("training"))
    platform.on("GET", "/ensembles/ens_1", ensemble("failed", error=error))
    config = ("--config", tmp_path / "c.json")
    result = lenet("ensembles", "train", "ds_1", *config, *config)
    assert result.exit_code == 1
    assert "member_cancelled" in result.stderr
    assert "/members/0: job_1" in result.stderr


# What a model sees.


@pytest.mark.parametrize(("action", "method"), [("feature-maps", "feature_maps"), ("saliency", "saliency")])
def test_values_and_pictures_are_told_apart_by_what_is_accepted(client, platform, image, action, method):
    def handle(request):
        if request.headers["Accept"] == "image/png":
            return httpx2.Response(200, content=PNG)
        return httpx2.Response(200, json={"filename": "a.png", "class": "bee", "class_index": 1, "confidence": 1})

    platform.on("POST", f"/jobs/job_1/{action}", handle)
    assert getattr(client.jobs, method)("job_1", image).filename == "a.png"
    assert getattr(client.jobs, f"draw_{method}")("job_1", image) == PNG


def test_a_saliency_may_be_of_any_class(lenet, platform, image, tmp_path):
    platform.on("POST", "/jobs/job_1/saliency", lambda _: httpx2.Response(200, content=PNG))
    result = lenet("saliency", "job_1", image, "--class", "ant", "-o", tmp_path / "s.png")
    assert result.stdout.strip() == str(tmp_path / "s.png")
    assert (tmp_path / "s.png").read_bytes() == PNG
    assert platform.requests[0].url.params["class"] == "ant"


@pytest.mark.parametrize("action", ["feature-maps", "saliency"])
def test_a_picture_is_named_after_the_image_and_json_is_printed(lenet, platform, image, tmp_path, monkeypatch, action):  # noqa: PLR0917 - fixtures
    monkeypatch.chdir(tmp_path)
    platform.on("POST", f"/jobs/job_1/{action}", httpx2.Response(200, content=PNG))
    assert lenet(action, "job_1", image).stdout.strip() == f"a-{action}.png"
    platform.on(
        "POST", f"/jobs/job_1/{action}", {"filename": "a.png", "class": "bee", "class_index": 1, "confidence": 1}
    )
    assert json.loads(lenet(action, "job_1", image, "--json").stdout)["filename"] == "a.png"


# Evaluations.


def test_an_evaluation_is_asked_for_waited_for_and_reported(client, platform):
    platform.on("POST", "/jobs/job_1/evaluate", httpx2.Response(202, json=evaluation("queued")))
    platform.on("GET", "/evaluations/eval_1", evaluation("running"), evaluation(metrics={"accuracy": 0.5}))
    platform.on("GET", "/evaluations/eval_1/report", {"accuracy": 0.5})
    client.evaluations.submit("job_1", "ds_2")
    asked = client.evaluations.submit("job_1", "ds_2", split="all")
    assert platform.bodies() == [{"dataset_id": "ds_2"}, {"dataset_id": "ds_2", "split": "all"}]
    assert client.evaluations.wait(asked.id).metrics.accuracy == 0.5
    assert client.evaluations.report(asked.id).accuracy == 0.5


def test_an_evaluation_that_fails_says_why(client, platform):
    platform.on("GET", "/evaluations/eval_1", evaluation("failed", error={"code": "integrity", "detail": "Broken."}))
    with pytest.raises(EvaluationFailedError, match="Broken") as caught:
        client.evaluations.wait("eval_1")
    assert (caught.value.code, caught.value.evaluation.id) == ("integrity", "eval_1")


def test_evaluations_are_found_by_job_and_deleted(client, platform):
    platform.on("GET", "/evaluations", {"items": [evaluation()], "next_cursor": None})
    platform.on("DELETE", "/evaluations/eval_1", httpx2.Response(204))
    assert [one.id for one in client.evaluations.iterate(job_id="job_1")] == ["eval_1"]
    assert platform.requests[0].url.params["job_id"] == "job_1"
    client.evaluations.delete("eval_1")


def test_the_commands_of_evaluations(lenet, platform):
    platform.on("POST", "/jobs/job_1/evaluate", evaluation("queued"))
    platform.on("GET", "/evaluations/eval_1", evaluation())
    platform.on("GET", "/evaluations/eval_1/report", {"accuracy": 0.5})
    platform.on("DELETE", "/evaluations/eval_1", httpx2.Response(204))
    assert "50.00 %" in lenet("evaluate", "job_1", "ds_2", "--split", "all").stdout
    assert json.loads(lenet("evaluate", "job_1", "ds_2", "--no-wait", "--json").stdout)["status"] == "queued"
    assert "is deleted" in lenet("evaluations", "delete", "eval_1").stdout
    platform.on("GET", "/evaluations/eval_1", evaluation("failed", error={"code": "integrity", "detail": "Broken."}))
    result = lenet("evaluate", "job_1", "ds_2")
    assert (result.exit_code, "Broken." in result.stderr) == (1, True)


# Named models.


@pytest.fixture
def registry(platform):
    alias = {"alias": "production", "version": 2, "set_by": "key_1"}
    platform.on("POST", "/models", {"name": "digits", "last_version": 0})
    platform.on("GET", "/models/digits", {"name": "digits", "last_version": 2, "aliases": [alias]})
    platform.on("POST", "/models/digits/versions", {"version": 2, "job_id": "job_1"})
    platform.on("GET", "/models/digits/versions/2", {"version": 2, "job_id": "job_1"})
    platform.on("GET", "/models/digits/versions", {"items": [{"version": 2}], "next_cursor": None})
    platform.on("PUT", "/models/digits/aliases/production", alias)
    platform.on("POST", "/models/digits@production/predict", {"predictions": [VOTE]})
    platform.on("GET", "/models/digits@2/artifacts/model.onnx", lambda _: httpx2.Response(200, content=b"graph"))
    for path in ("", "/versions/1", "/aliases/production"):
        platform.on("DELETE", f"/models/digits{path}", httpx2.Response(204))
    return platform


def test_a_model_goes_from_its_name_to_production(client, registry, image, tmp_path):
    assert client.models.create("digits", description="d").name == "digits"
    assert client.models.add_version("digits", job_id="job_1").version == 2
    assert client.models.add_version("digits", ensemble_id="ens_1", description="e").version == 2
    assert client.models.set_alias("digits", "production", 2).set_by == "key_1"
    assert registry.bodies() == [
        {"name": "digits", "description": "d"},
        {"job_id": "job_1"},
        {"ensemble_id": "ens_1", "description": "e"},
        {"version": 2},
    ]
    assert ["Idempotency-Key" in request.headers for request in registry.requests] == [True, True, True, False]
    assert client.models.predict("digits@production", [image])[0].class_name == "bee"
    assert client.models.download("digits@2", tmp_path / "m.onnx").read_bytes() == b"graph"
    assert client.models.get("digits").aliases[0].version == 2
    assert client.models.get_version("digits", 2).job_id == "job_1"
    assert [one.version for one in client.models.versions("digits")] == [2]
    client.models.delete_alias("digits", "production")
    client.models.delete_version("digits", 1)
    client.models.delete("digits")


def test_the_commands_of_models(lenet, registry, image, tmp_path):
    assert "digits" in lenet("models", "create", "digits", "--description", "d").stdout
    assert "job_1" in lenet("models", "add", "digits", "job_1", "--alias", "production").stdout
    lenet("models", "add", "digits", "ens_1")
    posted = [
        json.loads(request.content) for request in registry.requests if request.url.path.endswith("digits/versions")
    ]
    assert posted == [{"job_id": "job_1"}, {"ensemble_id": "ens_1"}]
    assert any(request.method == "PUT" for request in registry.requests)
    assert "key_1" in lenet("models", "set-alias", "digits", "production", 2).stdout
    assert "bee" in lenet("models", "predict", "digits@production", image).stdout
    assert (tmp_path / "m").name in lenet("models", "download", "digits@2", "-o", tmp_path / "m").stdout
    for words in (("delete-alias", "digits", "production"), ("delete", "digits", "--version", 1), ("delete", "digits")):
        assert "is deleted" in lenet("models", *words).stdout
