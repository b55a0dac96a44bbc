import gzip
import io
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from bench.cells import Cell, make_grid
from bench.tables import find_datasets, run_cells, write_docs
from client.types import Dataset, Epoch, Job, Metrics, Problem

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class FakePlatform:
    """Keeps what it is sent; every job ends at once, one of ``failing`` as failed."""

    data: Path
    failing: str = ""
    uploads: list = field(default_factory=list)
    submitted: list = field(default_factory=list)

    @property
    def client(self):
        return SimpleNamespace(jobs=self)

    def upload(self, archive):
        self.uploads.append(archive)
        with zipfile.ZipFile(archive) as content:
            assert content.namelist()
        return Dataset(id=f"ds_{len(self.uploads)}", status="ready")

    def submit(self, dataset_id, config, *, name, tags):
        self.submitted.append((dataset_id, config, name, tuple(tags)))
        return Job(id=str(len(self.submitted) - 1), status="queued")

    def get(self, job_id):
        about = {"id": job_id, "started_at": BEGUN, "finished_at": BEGUN + timedelta(seconds=9)}
        if self.submitted[int(job_id)][1]["preset"] == self.failing:
            return Job(**about, status="failed", error=Problem(detail="It diverged."))
        return Job(
            **about, status="succeeded", parameters=61_728, metrics=Metrics(test_accuracy=0.99, val_accuracy=0.98)
        )

    def epochs(self, job_id):
        return [Epoch(epoch=number, images_per_second=speed) for number, speed in ((1, 10.0), (2, 30.0), (3, 20.0))]


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "images" / "mnist"
    folder.mkdir(parents=True)
    pixels, labels = np.zeros((2, 28, 28), np.uint8), np.array([3, 4], np.uint8)
    for prefix in ("train", "t10k"):
        header = b"\0\0\x08\x03" + b"".join(side.to_bytes(4, "big") for side in pixels.shape)
        folder.joinpath(f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
        header = b"\0\0\x08\x01" + (2).to_bytes(4, "big")
        folder.joinpath(f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels.tobytes()))
    return folder.parent


@pytest.fixture
def platform(tmp_path):
    folder = tmp_path / "platform"
    folder.mkdir()
    return FakePlatform(folder / "data")


def test_only_datasets_that_are_there_are_run(data):
    assert find_datasets(data, ["mnist", "cifar10"]) == ["mnist"]
    picture = io.BytesIO()
    Image.new("RGB", (32, 32)).save(picture, "JPEG")
    with zipfile.ZipFile(data / "cifar10-jpg.zip", "w") as archive:
        archive.writestr("train/cat/1.jpg", picture.getvalue())
    assert find_datasets(data, ["mnist", "fashion-mnist", "cifar10"]) == ["mnist", "cifar10"]


def test_each_cell_is_a_job_of_its_recipe_and_seed_on_a_dataset_sent_once(data, platform):
    grid = make_grid(["mnist"], ["fast", "best"], [0, 1])
    outcomes = list(run_cells(platform, grid, data, is_over=lambda: False))
    assert len(platform.uploads) == 1
    configs = [config for _, config, _, _ in platform.submitted]
    assert configs == [{"preset": recipe, "seed": seed} for seed in (0, 1) for recipe in ("fast", "best")]
    assert {(dataset, tags) for dataset, _, _, tags in platform.submitted} == {("ds_1", ("tables",))}
    assert [outcome.cell for outcome in outcomes] == grid
    assert all(outcome.is_current for outcome in outcomes)


def test_an_outcome_has_the_jobs_figures(data, platform):
    (outcome,) = run_cells(platform, [Cell("mnist", "fast", 0)], data, is_over=lambda: False)
    assert (outcome.test_accuracy, outcome.val_accuracy, outcome.parameters) == (0.99, 0.98, 61_728)
    assert (outcome.epochs, outcome.seconds, outcome.images_per_second) == (3, 9.0, 20.0)
    assert outcome.error is None


def test_a_training_that_fails_stops_no_other(data, platform):
    platform.failing = "fast"
    outcomes = list(run_cells(platform, make_grid(["mnist"], ["fast", "best"], [0]), data, is_over=lambda: False))
    assert [outcome.error for outcome in outcomes] == ["It diverged.", None]


def test_no_training_begins_once_the_time_is_over(data, platform):
    clock = iter([False, True])
    outcomes = list(run_cells(platform, make_grid(["mnist"], ["fast"], [0, 1]), data, is_over=lambda: next(clock)))
    assert len(outcomes) == len(platform.submitted) == 1


def test_the_page_and_the_plots_are_written(tmp_path, make_outcome):
    outcomes = {outcome.cell: outcome for outcome in (make_outcome(), make_outcome("best", error="It diverged."))}
    write_docs(tmp_path, make_grid(["mnist", "cifar10"], ["fast", "best"], [0]), outcomes)
    assert {file.name for file in tmp_path.iterdir()} == {"results.md", "results-mnist.svg"}
