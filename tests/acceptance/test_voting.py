"""Models that leave their training: they vote, are looked at elsewhere, and go by a name. By the real processes."""

import os
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from command_lines import children_with

from client.errors import ConflictError, EnsembleFailedError
from client.sdk import Client

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

SHORT = {"epochs": 2, "early_stopping": None}
CAST = [{**SHORT, "architecture": name} for name in ("lenet5", "lenet-wide", "lenet-deep")]


@pytest.fixture(scope="module")
def dataset_id(client: Client, small_archive: Path) -> str:
    return client.datasets.wait(client.datasets.upload(small_archive).id).id


@pytest.fixture(scope="module")
def other_dataset_id(client: Client, small_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a dataset of the same classes with fewer images."""
    path = tmp_path_factory.mktemp("other") / "other.zip"
    with zipfile.ZipFile(small_archive) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            if int(Path(name).stem) < 12:
                target.writestr(name, source.read(name))
    return client.datasets.wait(client.datasets.upload(path).id).id


@pytest.fixture(scope="module")
def cast(client: Client, dataset_id: str):
    return client.ensembles.wait(client.ensembles.train(dataset_id, CAST, voting="hard").id, timeout_seconds=400)


def _until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.02)


def test_a_cast_is_trained_in_one_call_and_votes(client: Client, cast, small_archive: Path) -> None:
    assert [member.architecture for member in cast.members] == ["lenet5", "lenet-wide", "lenet-deep"]
    assert cast.test_images == 60
    assert cast.test_accuracy is not None
    assert all(member.test_accuracy is not None for member in cast.members)
    answers = client.ensembles.predict(cast.id, [small_archive])
    assert len(answers) == 150
    assert all(len(answer.votes) == 3 for answer in answers)


def test_the_vote_over_http_has_the_accuracy_that_was_measured(client: Client, cast, small_archive: Path) -> None:
    answers = client.ensembles.predict(cast.id, [small_archive])
    tested = [answer for answer in answers if answer.filename.startswith("test/")]
    right = sum(answer.class_name == answer.filename.split("/")[1] for answer in tested)
    assert right / len(tested) == pytest.approx(cast.test_accuracy)


def test_a_cancelled_member_fails_the_cast_and_a_retry_forms_it(client: Client, dataset_id: str) -> None:
    made = client.ensembles.train(dataset_id, CAST[:1] * 2)
    client.jobs.cancel(made.job_ids[1])
    with pytest.raises(EnsembleFailedError) as caught:
        client.ensembles.wait(made.id, timeout_seconds=60)
    assert caught.value.code == "member_cancelled"
    client.jobs.retry(made.job_ids[1])
    assert client.ensembles.wait(made.id, timeout_seconds=200).status == "ready"


def test_a_model_is_looked_at_on_another_dataset(client: Client, cast, other_dataset_id: str) -> None:
    asked = client.evaluations.submit(cast.job_ids[0], other_dataset_id, split="all")
    done = client.evaluations.wait(asked.id, timeout_seconds=60)
    report = client.evaluations.report(asked.id)
    assert done.metrics is not None
    assert done.metrics.images == 72
    assert report.accuracy == done.metrics.accuracy
    assert sum(map(sum, report.confusion_matrix)) == 72


def test_an_evaluation_outlives_the_worker_that_is_at_it(client: Client, cast, other_dataset_id: str) -> None:
    ingest = children_with("worker ingest", recursive=True)
    assert ingest
    for process in ingest:
        process.send_signal(signal.SIGSTOP)
    asked = client.evaluations.submit(cast.job_ids[0], other_dataset_id)
    for process in ingest:
        os.kill(process.pid, signal.SIGCONT)
    _until(lambda: client.evaluations.get(asked.id).status != "queued", "start")
    for process in ingest:
        process.kill()
    assert client.evaluations.wait(asked.id, timeout_seconds=90).status == "succeeded"


def test_a_name_points_at_what_is_in_production(client: Client, cast, small_archive: Path) -> None:
    client.models.create("squares")
    client.models.add_version("squares", job_id=cast.job_ids[0])
    client.models.add_version("squares", ensemble_id=cast.id)
    client.models.set_alias("squares", "production", 1)
    assert client.models.predict("squares@production", [small_archive])[0].votes == []
    client.models.set_alias("squares", "production", 2)
    assert len(client.models.predict("squares@production", [small_archive])[0].votes) == 3
    assert [change.after for change in client.models.history("squares", "production")] == [2, 1]
    with pytest.raises(ConflictError):
        client.jobs.delete(cast.job_ids[0])
    with pytest.raises(ConflictError):
        client.ensembles.delete(cast.id)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", ["produce-photos.zip", "sign-digits.zip"])
def test_three_architectures_vote_on_real_photos(client: Client, test_data: Path, tmp_path: Path, name: str) -> None:
    dataset = client.datasets.wait(client.datasets.upload(test_data / name).id)
    made = client.ensembles.train(dataset.id, [{**config, "epochs": 4} for config in CAST])
    cast = client.ensembles.wait(made.id, timeout_seconds=500)
    assert cast.test_images == dataset.images_in("test")
    with zipfile.ZipFile(test_data / name) as source:
        chosen = [one for one in source.namelist() if one.startswith("test/")][:40]
        paths = [tmp_path / f"{number}-{Path(one).name}" for number, one in enumerate(chosen)]
        for path, one in zip(paths, chosen, strict=True):
            path.write_bytes(source.read(one))
    answers = client.ensembles.predict(cast.id, paths)
    assert [answer.filename for answer in answers] == [path.name for path in paths]
    assert all(len(answer.votes) == 3 and 0 < (answer.agreement or 0) <= 1 for answer in answers)
    assert client.ensembles.download(cast.id, tmp_path).stat().st_size > 100_000
