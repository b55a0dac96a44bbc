"""What a job leaves, through the real platform: plots while it runs and after, the bundle, the same weights again."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from client.errors import ConflictError
from client.sdk import Client
from client.types import PLOTS, Job

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def dataset_id(client: Client, small_archive: Path) -> str:
    return client.datasets.wait(client.datasets.upload(small_archive).id).id


@pytest.fixture(scope="module")
def job(client: Client, dataset_id: str) -> Job:
    return client.jobs.wait(client.jobs.submit(dataset_id, {"epochs": 2}).id)


def test_a_running_job_has_its_history_and_no_other_plot(client: Client, dataset_id: str) -> None:
    running = client.jobs.submit(dataset_id, {"epochs": 1000})
    while not client.jobs.epochs(running.id):
        client._transport.sleep(0.1)
    assert Image.open(io.BytesIO(client.jobs.plot(running.id, "history"))).size == (900, 600)
    with pytest.raises(ConflictError, match="once it has succeeded"):
        client.jobs.plot(running.id, "filters")
    client.jobs.cancel(running.id)


@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_is_a_picture(client: Client, job: Job, name: str) -> None:
    assert Image.open(io.BytesIO(client.jobs.plot(job.id, name))).format == "PNG"


def test_the_bundle_answers_as_the_api(client: Client, job: Job, small_archive: Path, tmp_path: Path) -> None:
    client.jobs.download(job.id, "bundle.zip", tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        archive.extractall(tmp_path)
    with zipfile.ZipFile(small_archive) as archive:
        archive.extractall(tmp_path / "pictures")
    files = sorted((tmp_path / "pictures" / "test").rglob("*.png"))
    command = [sys.executable, tmp_path / "predict.py", "--json", *files]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    answers = client.jobs.predict(job.id, files)
    assert [one["class"] for one in told] == [one.class_name for one in answers]
    assert [one["confidence"] for one in told] == pytest.approx([one.confidence for one in answers], abs=1e-4)


def test_the_report_says_what_the_model_was_made_of(client: Client, job: Job, dataset_id: str) -> None:
    made_of = client.jobs.report(job.id).provenance
    assert made_of["archive_sha256"] == client.datasets.get(dataset_id).sha256
    assert len(made_of["pack_sha256"]) == 64
    assert json.loads(made_of["config"])["epochs"] == 2


def test_a_job_that_is_repeated_gives_the_same_weights_to_the_bit(client: Client, job: Job) -> None:
    found = client.jobs.reproduce(job.id)
    assert found.equal_weights, found.differences
    assert (found.sha256, found.differences) == (found.again_sha256, {})
    files = [{one.name: one.sha256 for one in client.jobs.artifacts(job_id)} for job_id in (job.id, found.again_id)]
    # The history says when each epoch ended and how long it took.
    dated = {"history.csv", "provenance.json", "bundle.zip"}
    assert {name for name in files[0] if files[0][name] != files[1][name]} <= dated
