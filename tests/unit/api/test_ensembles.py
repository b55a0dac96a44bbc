import errno
import io
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from core.db.engine import transaction
from core.errors import IntegrityError
from core.inference import merging
from core.services import ensembles, results
from core.storage.keys import artifact
from worker import ensembles as voting_worker
from worker.ensembles import merge_ensembles

URL = "/api/v1/ensembles"
BINARY = "application/octet-stream"
# How bright an image must be for a member to see a bee: the first sees one in all but the darkest.
DARKS = (1.0, 5.0, 9.0)
LABELS = [0, 0, 1, 1]


def pack_answers(bees, labels=LABELS, images="digest"):
    buffer = io.BytesIO()
    probabilities = np.array([[1 - bee, bee] for bee in bees], np.float32)
    np.savez(buffer, probabilities=probabilities, labels=np.array(labels, np.int32), images=np.array(images))
    return buffer.getvalue()


@pytest.fixture
def make_member(platform, make_model_file):
    def make(dark=5.0, *, answers=None, classes=("ant", "bee"), **wanted):
        files = {"model.onnx": (BINARY, make_model_file(dark=dark, classes=classes))}
        if answers is not None:
            files["test_predictions.npz"] = (BINARY, answers)
        return platform.make_succeeded_job(files, **wanted)

    return make


@pytest.fixture
def members(make_member):
    answers = [pack_answers(bees) for bees in ([0.6, 0.1, 0.9, 0.9], [0.4, 0.1, 0.9, 0.2], [0.1, 0.1, 0.2, 0.9])]
    return [make_member(dark, answers=own) for dark, own in zip(DARKS, answers, strict=True)]


@pytest.fixture
def form(client):
    """Return a function that forms an ensemble and returns it."""

    def make(job_ids, **options):
        response = client.post(URL, json={"job_ids": job_ids, **options})
        assert response.status_code == 201, response.get_json()
        return response.get_json()

    return make


def predict(client, ensemble_id, images, query=""):
    parts = [(io.BytesIO(content), filename) for filename, content in images]
    return client.post(f"{URL}/{ensemble_id}/predict{query}", data={"image": parts}, content_type="multipart/form-data")


def faults(response):
    return {error["pointer"] for error in response.get_json()["errors"]}


def test_an_ensemble_tells_the_accuracy_of_each_member_and_of_the_vote(client, members):
    response = client.post(URL, json={"job_ids": members, "name": "three", "voting": "hard"})
    ensemble = response.get_json()
    assert response.status_code == 201
    assert response.headers["Location"] == f"{URL}/{ensemble['id']}"
    assert ensemble["id"].startswith("ens_")
    assert (ensemble["name"], ensemble["voting"], ensemble["status"]) == ("three", "hard", "ready")
    assert (ensemble["job_ids"], ensemble["weights"], ensemble["classes"]) == (members, [1.0] * 3, ["ant", "bee"])
    assert [member["test_accuracy"] for member in ensemble["members"]] == [0.75] * 3
    assert ensemble["test_accuracy"] == 1.0, "each is wrong once, and never two of them together"
    assert ensemble["test_agreement"] == pytest.approx((2 + 3 + 2 + 2) / 12)
    assert ensemble["test_images"] == 4
    assert client.get(f"{URL}/{ensemble['id']}").get_json() == ensemble


def test_weights_count(form, members):
    alone = form(members, voting="soft", weights=[0, 1, 0])
    assert alone["weights"] == [0.0, 1.0, 0.0]
    assert alone["test_accuracy"] == 0.75


@pytest.mark.parametrize(
    "answers", [None, pack_answers([0.5], [0], images="others"), b"no archive"], ids=["none", "others", "broken"]
)
def test_where_the_vote_cannot_be_measured_it_is_null_and_the_ensemble_votes(form, members, make_member, answers):
    ensemble = form([members[0], make_member(answers=answers)])
    assert (ensemble["test_accuracy"], ensemble["test_images"], ensemble["status"]) == (None, None, "ready")


def test_members_vote_on_each_image(client, form, members, make_image):
    ensemble = form(members, voting="hard")
    images = [("dark.png", make_image(0)), ("gray.png", make_image(150)), ("bright.png", make_image(255))]
    predictions = predict(client, ensemble["id"], images, "?top_k=1").get_json()["predictions"]
    assert [one["filename"] for one in predictions] == ["dark.png", "gray.png", "bright.png"]
    assert [one["class"] for one in predictions] == ["ant", "bee", "bee"]
    gray = predictions[1]
    assert [vote["class"] for vote in gray["votes"]] == ["bee", "bee", "ant"]
    assert [vote["job_id"] for vote in gray["votes"]] == members
    assert gray["agreement"] == gray["confidence"] == pytest.approx(2 / 3)
    assert all(0.5 < vote["confidence"] <= 1 for vote in gray["votes"])
    told = [gray["agreement"], *(vote["confidence"] for vote in gray["votes"])]
    assert told == [round(share, 6) for share in told], "no more digits than a job's answers have"
    assert gray["top"] == [{"class": "bee", "probability": gray["confidence"]}]


def test_a_tie_of_hard_votes_goes_to_the_higher_summed_probability(client, form, members, make_image):
    pair = form(members[1:], voting="hard")
    (prediction,) = predict(client, pair["id"], [("gray.png", make_image(150))]).get_json()["predictions"]
    (sure, unsure) = sorted(prediction["votes"], key=lambda vote: vote["confidence"], reverse=True)
    assert sure["class"] != unsure["class"]
    assert prediction["class"] == sure["class"]
    assert prediction["confidence"] == 0.5


def test_soft_votes_are_the_mean(client, form, members, make_image):
    ensemble = form(members, voting="soft", weights=[1, 1, 2])
    (prediction,) = predict(client, ensemble["id"], [("gray.png", make_image(150))]).get_json()["predictions"]
    bees = [vote["confidence"] if vote["class"] == "bee" else 1 - vote["confidence"] for vote in prediction["votes"]]
    shares = {ranked["class"]: ranked["probability"] for ranked in prediction["top"]}
    assert shares["bee"] == pytest.approx((bees[0] + bees[1] + 2 * bees[2]) / 4, abs=1e-5)


def test_every_image_that_cannot_be_read_is_named(client, form, members, make_image):
    images = [("good.png", make_image(0)), ("bad.png", b"x"), ("worse.png", b"")]
    response = predict(client, form(members)["id"], images)
    assert response.status_code == 422
    assert faults(response) == {"/image/1", "/image/2"}


@pytest.fixture
def merge(platform, tmp_path):
    """Return a function that makes the files of ensembles as the worker's sweep does."""

    @contextmanager
    def scratch(purpose):
        yield tmp_path

    host = SimpleNamespace(sessions=platform.sessions, store=platform.store, scratch=scratch)
    return lambda: merge_ensembles(host)


def test_the_whole_is_one_file_that_votes_inside(client, form, members, merge):
    ensemble = form(members, voting="hard")
    assert client.get(f"{URL}/{ensemble['id']}/artifacts").get_json()["items"] == []
    early = client.get(f"{URL}/{ensemble['id']}/artifacts/model.onnx")
    assert (early.status_code, early.get_json()["code"]) == (409, "ensemble_file_not_ready")
    merge()
    (artifact,) = client.get(f"{URL}/{ensemble['id']}/artifacts").get_json()["items"]
    response = client.get(f"{URL}/{ensemble['id']}/artifacts/model.onnx")
    assert (artifact["name"], artifact["size_bytes"]) == ("model.onnx", len(response.data))
    assert response.headers["ETag"] == f'"{artifact["sha256"]}"'
    session = onnxruntime.InferenceSession(response.data, providers=["CPUExecutionProvider"])
    pixels = np.repeat(np.array([0, 150, 255], np.uint8), 784).reshape(3, 28, 28, 1)
    assert session.run(["class_index"], {"image": pixels})[0].tolist() == [0, 1, 1]
    assert client.get(f"{URL}/{ensemble['id']}/artifacts/model.onnx", headers={"Range": "bytes=0-9"}).status_code == 206


def test_the_one_file_is_made_once(client, form, members, merge, monkeypatch):
    ensemble = form(members)
    merge()
    first = client.get(f"{URL}/{ensemble['id']}/artifacts/model.onnx").data
    monkeypatch.setattr(voting_worker, "record_model", None)
    merge()
    assert client.get(f"{URL}/{ensemble['id']}/artifacts/model.onnx").data == first


def test_a_file_that_cannot_be_made_says_why_and_is_not_tried_again(client, form, members, platform, merge):
    ensemble = form(members)
    platform.store.delete(artifact(platform.tenant_id, members[1], attempt=1, name="model.onnx"))
    merge()
    response = client.get(f"{URL}/{ensemble['id']}/artifacts/model.onnx")
    assert (response.status_code, response.get_json()["code"]) == (409, "object_not_found")
    with transaction(platform.sessions) as session:
        assert ensembles.find_unmerged(session) == []


def test_one_that_no_file_can_be_made_of_keeps_no_other_from_its_file(client, form, members, merge, monkeypatch):
    hopeless, other = form(members[:2]), form(members[1:])
    fail_once(monkeypatch, ValueError("larger than two gibibytes"))
    merge()
    response = client.get(f"{URL}/{hopeless['id']}/artifacts/model.onnx")
    assert (response.status_code, response.get_json()["code"]) == (409, "merge_failed")
    assert client.get(f"{URL}/{other['id']}/artifacts/model.onnx").status_code == 200


@pytest.mark.parametrize("trouble", [OSError(errno.ENOSPC, "No space left on device"), MemoryError()])
def test_trouble_of_this_machine_is_no_reason_to_give_a_file_up(*, client, form, members, merge, monkeypatch, trouble):
    url = f"{URL}/{form(members)['id']}/artifacts/model.onnx"
    fail_once(monkeypatch, trouble)
    merge()
    assert client.get(url).get_json()["code"] == "ensemble_file_not_ready"
    merge()
    assert client.get(url).status_code == 200


@pytest.mark.parametrize(("wrong", "code"), [(2, None), (3, "integrity")])
def test_a_member_that_is_altered_on_its_way_is_fetched_again(
    *, client, form, members, merge, monkeypatch, platform, wrong, code
):
    fetch, asked = platform.store.fetch, []

    def fetch_wrongly(*arguments, **options):
        asked.append(arguments)
        if len(asked) <= wrong:
            raise IntegrityError("The stored bytes are not the bytes that were recorded.")
        fetch(*arguments, **options)

    url = f"{URL}/{form(members)['id']}/artifacts/model.onnx"
    monkeypatch.setattr(platform.store, "fetch", fetch_wrongly)
    merge()
    response = client.get(url)
    assert response.status_code == (409 if code else 200)
    assert code is None or response.get_json()["code"] == code


def fail_once(monkeypatch, error):
    """Have the next merging fail, and those after it work."""
    make = merging.merge_models

    def fail(*_, **__):
        monkeypatch.setattr(merging, "merge_models", make)
        raise error

    monkeypatch.setattr(merging, "merge_models", fail)


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"/dataset_id", "/members"}),
        ({"job_ids": ["job_1"]}, {"/job_ids"}),
        ({"job_ids": [f"job_{n}" for n in range(26)]}, {"/job_ids"}),
        ({"job_ids": ["job_1", "job_1"]}, {"/job_ids/1"}),
        ({"job_ids": ["job_1", "job_2"], "voting": "loud"}, {"/voting"}),
        ({"job_ids": ["job_1", "job_2"], "weights": [1]}, {"/weights"}),
        ({"job_ids": ["job_1", "job_2"], "weights": [0, 0]}, {"/weights"}),
        ({"job_ids": ["job_1", "job_2"], "weights": [1, -1]}, {"/weights/1"}),
        ({"job_ids": ["job_1", "job_2"], "weights": ["1", 1]}, {"/weights/0"}),
        ({"job_ids": ["job_1", "job_2"], "dataset_id": "ds_1", "members": [{}, {}]}, {"/dataset_id", "/members"}),
        ({"job_ids": ["job_1", "job_2"], "priority": 9, "tags": ["a"]}, {"/priority", "/tags"}),
        ({"dataset_id": "ds_1", "members": [{}]}, {"/members"}),
        ({"dataset_id": "ds_1"}, {"/members"}),
        ({"job_ids": ["job_1", "job_2"], "vote": "hard"}, {"/vote"}),
    ],
)
def test_a_request_that_makes_no_sense_is_422_with_every_fault(client, body, pointers):
    response = client.post(URL, json=body)
    assert (response.status_code, faults(response)) == (422, pointers)


def test_jobs_that_have_not_succeeded_are_422_and_all_named(client, platform, members):
    response = client.post(URL, json={"job_ids": [platform.make_job(), members[0], platform.make_job()]})
    assert (response.status_code, response.get_json()["code"]) == (422, "incompatible_members")
    assert faults(response) == {"/job_ids/0", "/job_ids/2"}


def test_jobs_of_other_classes_are_422_and_all_named(client, members, make_member):
    other, swapped = make_member(classes=("ant", "cat")), make_member(classes=("bee", "ant"))
    response = client.post(URL, json={"job_ids": [members[0], other, members[1], swapped]})
    assert (response.status_code, response.get_json()["code"]) == (422, "incompatible_members")
    assert faults(response) == {"/job_ids/1", "/job_ids/3"}


def test_an_unknown_job_is_404(client, members):
    response = client.post(URL, json={"job_ids": [members[0], "job_none"]})
    assert (response.status_code, response.get_json()["code"]) == (404, "job_not_found")
    assert faults(response) == {"/job_ids/1"}


def test_sent_twice_with_one_key_there_is_one_ensemble(client, members):
    sent = [
        client.post(URL, json={"job_ids": members}, headers={"Idempotency-Key": "once"}).get_json() for _ in range(2)
    ]
    assert sent[0] == sent[1]
    assert len(client.get(URL).get_json()["items"]) == 1
    reused = client.post(URL, json={"job_ids": members[:2]}, headers={"Idempotency-Key": "once"})
    assert (reused.status_code, reused.get_json()["code"]) == (422, "idempotency_key_reused")


def test_ensembles_are_listed_newest_first(client, form, members):
    made = [form(members, name=f"{number}")["id"] for number in range(3)]
    page = client.get(f"{URL}?limit=2").get_json()
    rest = client.get(f"{URL}?limit=2&cursor={page['next_cursor']}").get_json()
    assert [item["id"] for item in page["items"] + rest["items"]] == made[::-1]
    assert rest["next_cursor"] is None


def test_a_stranger_sees_nothing_of_it(make_client, platform, form, members, make_image):
    ensemble = form(members)
    stranger = make_client(headers=platform.make_headers(tenant="other"))
    assert stranger.get(URL).get_json()["items"] == []
    assert stranger.get(f"{URL}/{ensemble['id']}").status_code == 404
    assert stranger.delete(f"{URL}/{ensemble['id']}").status_code == 404
    assert stranger.get(f"{URL}/{ensemble['id']}/artifacts").status_code == 404
    assert predict(stranger, ensemble["id"], [("a.png", make_image(0))]).status_code == 404
    assert stranger.post(URL, json={"job_ids": members}).status_code == 404


@pytest.fixture
def reader(make_client, platform):
    return make_client(headers=platform.make_headers("read"))


def test_who_may_only_read_may_predict_and_not_form(reader, form, members, merge, make_image):
    ensemble = form(members)
    merge()
    assert predict(reader, ensemble["id"], [("a.png", make_image(0))]).status_code == 200
    assert reader.get(f"{URL}/{ensemble['id']}/artifacts/model.onnx").status_code == 200
    assert reader.post(URL, json={"job_ids": members}).status_code == 403
    assert reader.delete(f"{URL}/{ensemble['id']}").status_code == 403


def test_a_member_cannot_be_deleted_before_the_ensemble(client, form, members, store, merge):
    ensemble = form(members)
    merge()
    refused = client.delete(f"/api/v1/jobs/{members[0]}")
    assert (refused.status_code, refused.get_json()["code"]) == (409, "job_in_use")
    assert ensemble["id"] in refused.get_json()["detail"]
    assert any("/ensembles/" in stat.key for stat in store.list())
    assert client.delete(f"{URL}/{ensemble['id']}").status_code == 204
    assert not any("/ensembles/" in stat.key for stat in store.list())
    assert client.get(f"{URL}/{ensemble['id']}").status_code == 404
    assert client.delete(f"/api/v1/jobs/{members[0]}").status_code == 204


# An ensemble whose members are trained first.


def train(client, platform, configs=({"architecture": "lenet5"}, {"epochs": 2}), **options):
    body = {"dataset_id": platform.make_dataset(), "members": list(configs), **options}
    return client.post(URL, json=body)


def test_members_are_queued_in_one_call(client, platform, sent):
    response = train(client, platform, name="cast", voting="hard", weights=[1, 2], priority=7, tags=["vote"])
    ensemble = response.get_json()
    assert response.status_code == 202
    assert (ensemble["status"], ensemble["classes"], ensemble["formed_at"]) == ("training", ["ant", "bee"], None)
    assert (ensemble["voting"], ensemble["weights"]) == ("hard", [1.0, 2.0])
    jobs = [client.get(f"/api/v1/jobs/{job_id}").get_json() for job_id in ensemble["job_ids"]]
    assert [job["status"] for job in jobs] == ["queued", "queued"]
    assert [job["name"] for job in jobs] == ["cast: 1", "cast: 2"]
    assert {(job["priority"], *job["tags"]) for job in jobs} == {(7, "vote")}
    assert jobs[1]["config"]["epochs"] == 2
    assert {message.resource_id for message in sent()} == set(ensemble["job_ids"])


def test_until_they_are_trained_it_cannot_predict(client, platform, make_image):
    ensemble_id = train(client, platform).get_json()["id"]
    for response in (
        predict(client, ensemble_id, [("a.png", make_image(0))]),
        client.get(f"{URL}/{ensemble_id}/artifacts"),
        client.get(f"{URL}/{ensemble_id}/artifacts/model.onnx"),
    ):
        assert (response.status_code, response.get_json()["code"]) == (409, "ensemble_not_ready")


def test_a_config_that_cannot_work_queues_nothing_and_every_fault_is_told(client, platform, sent):
    response = train(client, platform, ({"epochs": -1}, {}, {"epocs": 3, "batch_size": 0}))
    assert response.status_code == 422
    assert faults(response) == {"/members/0/epochs", "/members/2/epocs", "/members/2/batch_size"}
    assert client.get("/api/v1/jobs").get_json()["items"] == []
    assert sent() == []


@pytest.mark.parametrize(("status", "code"), [("processing", "dataset_not_ready"), ("rejected", "dataset_rejected")])
def test_on_a_dataset_that_is_not_ready_nothing_is_trained(client, platform, status, code):
    body = {"dataset_id": platform.make_dataset(status=status), "members": [{}, {}]}
    response = client.post(URL, json=body)
    assert (response.status_code, response.get_json()["code"]) == (409, code)
    assert client.post(URL, json={**body, "dataset_id": "ds_none"}).status_code == 404


def test_a_member_that_is_cancelled_makes_it_fail_and_a_retry_makes_it_train_again(client, platform):
    ensemble = train(client, platform).get_json()
    lost = ensemble["job_ids"][1]
    client.post(f"/api/v1/jobs/{lost}/cancel", json={})
    failed = client.get(f"{URL}/{ensemble['id']}").get_json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "member_cancelled")
    assert [error["pointer"] for error in failed["error"]["errors"]] == ["/members/1"]
    assert lost in failed["error"]["detail"]
    client.post(f"/api/v1/jobs/{lost}/retry", json={})
    assert client.get(f"{URL}/{ensemble['id']}").get_json()["status"] == "training"


def test_a_member_that_fails_makes_it_fail_with_the_reason(client, platform, sessions):
    ensemble = train(client, platform).get_json()
    claim = platform.claim()
    with transaction(sessions) as session:
        results.fail(session, claim, code="diverged", detail="The loss is no number.")
    failed = client.get(f"{URL}/{ensemble['id']}").get_json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "member_failed")
    assert "The loss is no number." in failed["error"]["errors"][0]["detail"]


def test_a_cast_that_is_deleted_leaves_its_members_in_the_queue(client, platform):
    ensemble = train(client, platform).get_json()
    assert client.delete(f"{URL}/{ensemble['id']}").status_code == 204
    assert [job["status"] for job in client.get("/api/v1/jobs").get_json()["items"]] == ["queued", "queued"]


def test_a_cast_is_formed_once_its_members_have_succeeded(client, platform, sessions, model_file):
    ensemble = train(client, platform).get_json()
    platform.succeed(platform.claim(), {"model.onnx": (BINARY, model_file)})
    with transaction(sessions) as session:
        assert ensembles.find_unformed(session) == []
    platform.succeed(platform.claim(), {"model.onnx": (BINARY, model_file)})
    assert client.get(f"{URL}/{ensemble['id']}").get_json()["status"] == "training"
    with transaction(sessions) as session:
        assert ensembles.find_unformed(session) == [(platform.tenant_id, ensemble["id"])]
        assert ensembles.form_ensemble(session, ensemble["id"], metrics={"test_accuracy": 0.5})
        assert not ensembles.form_ensemble(session, ensemble["id"], metrics=None)
        assert ensembles.find_unformed(session) == []
    formed = client.get(f"{URL}/{ensemble['id']}").get_json()
    assert (formed["status"], formed["test_accuracy"]) == ("ready", 0.5)
    assert formed["formed_at"] is not None
