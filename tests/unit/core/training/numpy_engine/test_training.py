"""Whole trainings with the NumPy engine: the same contract as with torch."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from core.domain.jobs import StopReason
from core.domain.training_config import resolve
from core.errors import IntegrityError, TrainingError
from core.training import trainer

NUMPY = {"engine": "numpy"}
RICH = {
    **NUMPY,
    "dropout": 0.3,
    "l2": 1e-4,
    "early_stopping": {"patience": 3},
    "scheduler": {"name": "cosine", "warmup_epochs": 0.5},
}


@pytest.fixture
def train(run):
    """Train with NumPy, and read the weights of the model that comes of it."""

    def train(options=None, **fields):
        result, observer, files = run({**NUMPY, **(options or {})}, **fields)
        weights = load_file(files["model.safetensors"]) if files else {}
        return result, observer, weights

    return train


def equal(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_it_learns_what_can_be_learnt(train):
    result, observer, _ = train({"epochs": 6})
    assert result.metrics.test_accuracy == 1.0
    assert result.stop_reason is StopReason.EPOCHS_DONE
    assert [epoch.epoch for epoch in observer.epochs] == [1, 2, 3, 4, 5, 6]
    assert [told.fraction for told in observer.told][-1] == 1


@pytest.fixture
def plain_weights(train):
    return train()[2]


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": {"name": "sgd", "learning_rate": 0.02, "momentum": 0.9}},
        {"optimizer": {"name": "sgd", "learning_rate": 0.02, "momentum": 0.9, "nesterov": True}},
        {"optimizer": {"name": "adamw", "learning_rate": 2e-3}},
        {"dropout": 0.3},
        {"activation": "tanh", "pooling": "avg", "init": "xavier_uniform"},
        {"dense": [32]},
        {"label_smoothing": 0.1},
        {"l1": 1e-4},
        {"l2": 1e-4},
        {"scheduler": {"name": "one_cycle", "max_learning_rate": 5e-3}},
        {"scheduler": {"name": "reduce_on_plateau", "patience": 1}, "label_smoothing": 0.05},
        {"sampling": {"balance": "oversample", "fraction": 0.9}},
        {"normalize": "unit"},
        {"seed": 3},
    ],
    ids=str,
)
def test_every_option_trains_otherwise_than_without_it(train, plain_weights, options):
    result, _, weights = train(options)
    assert not equal(weights, plain_weights)
    assert result.metrics.test_accuracy > 0.5


def test_colour_trains(train, make_pack):
    result, _, weights = train(pack=make_pack(color_mode="rgb"))
    assert weights["conv1.weight"].shape == (6, 3, 5, 5)
    assert result.metrics.test_accuracy > 0.5


def test_the_same_seed_gives_the_same_weights_to_the_bit(train):
    first, again, other = (train({**RICH, "seed": seed})[2] for seed in (1, 1, 2))
    assert equal(first, again)
    assert not equal(first, other)


@pytest.mark.parametrize("optimizer", [{"name": "adam", "learning_rate": 2e-3}, {"name": "sgd", "nesterov": True}])
@pytest.mark.parametrize("steps", [0, 3, 7, 17])
def test_a_paused_training_ends_as_if_it_had_not_been(run, make_observer, steps, optimizer):
    options = {**RICH, "optimizer": optimizer}
    whole, _, whole_files = run(options)
    result, paused, _ = run(options, observer=make_observer(command_at=steps))
    assert result is None
    path, epoch, batch = paused.checkpoints[-1]
    assert (epoch, batch) == (1 + steps // 7, steps % 7)
    resumed, _, files = run(options, resume_from=path)
    for name in ("model.pth", "model.npz", "model.onnx", "report.json"):
        assert files[name].read_bytes() == whole_files[name].read_bytes(), name
    assert resumed.metrics == whole.metrics
    assert resumed.exact_resume
    with files["history.csv"].open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_a_checkpoint_of_the_other_engine_is_refused(run, make_observer):
    _, paused, _ = run(observer=make_observer(command_at=3))
    with pytest.raises(IntegrityError, match="another config"):
        run(NUMPY, resume_from=paused.checkpoints[-1][0])


def test_early_stopping_restores_the_best_weights(train, monkeypatch):
    losses = iter([0.9, 0.5, 0.7, 0.6, 0.1])
    monkeypatch.setattr(
        trainer,
        "score",
        lambda logits, labels, real=trainer.score: replace(real(logits, labels), loss=next(losses, 0.05)),
    )
    result, observer, weights = train({"epochs": 9, "early_stopping": {"patience": 2}})
    assert result.stop_reason is StopReason.EARLY_STOPPING
    assert (len(observer.epochs), result.metrics.best_epoch) == (4, 2)
    monkeypatch.undo()
    assert equal(weights, train({"epochs": 2, "early_stopping": {"patience": 2}})[2])


def test_a_loss_that_is_no_number_ends_with_the_epoch_and_a_hint(run, make_observer):
    observer = make_observer()
    options = {"optimizer": {"name": "sgd", "learning_rate": 10.0, "momentum": 0.99}, "normalize": "none"}
    with pytest.raises(TrainingError) as caught:
        run({**NUMPY, **options}, observer=observer)
    assert caught.value.code == "diverged"
    assert "epoch 1" in caught.value.detail
    assert observer.checkpoints == []


@pytest.mark.parametrize("batch_size", [1, 53])
def test_a_batch_of_one_trains(train, batch_size):
    result, _, _ = train({"batch_size": batch_size, "epochs": 1})
    assert np.isfinite(result.metrics.test_loss)


def test_images_of_one_colour_train_to_finite_weights(train, tmp_path):
    from core.datasets.packs import PackWriter

    writer = PackWriter(tmp_path / "blank", image_size=28, color_mode="grayscale")
    writer.append(np.zeros((12, 28, 28, 1), np.uint8))
    writer.finish(
        labels=np.arange(12, dtype=np.int32) % 3,
        splits=np.array([0] * 9 + [2] * 3, np.uint8),
        paths=["x"] * 12,
        classes=["a", "b", "c"],
    )
    _, _, weights = train(pack=tmp_path / "blank")
    assert all(np.isfinite(weight).all() for weight in weights.values())


def test_a_warm_start_goes_on_from_a_model_of_the_other_engine(run, make_job, make_observer):
    _, _, files = run()
    warm = trainer.Training(make_job(NUMPY, initial_weights=files["model.safetensors"]), make_observer())
    assert equal(warm.engine.weights(), load_file(files["model.safetensors"]))


def test_weights_that_do_not_fit_are_refused(run, tmp_path):
    _, _, files = run({**NUMPY, "dense": [32]})
    with pytest.raises(TrainingError) as caught:
        run(NUMPY, initial_weights=files["model.safetensors"])
    assert caught.value.code == "incompatible_weights"


def test_the_results_are_those_of_the_other_engine(run, read_weights):
    theirs, ours = run({"epochs": 1}), run({**NUMPY, "epochs": 1})
    assert set(ours[2]) == set(theirs[2])
    assert ours[0].parameters == theirs[0].parameters
    mine, other = (read_weights(files["model.pth"]) for _, _, files in (ours, theirs))
    assert [(name, tensor.shape, tensor.dtype) for name, tensor in mine.items()] == [
        (name, tensor.shape, tensor.dtype) for name, tensor in other.items()
    ]
    assert all(
        torch.equal(mine[name], torch.from_numpy(weight))
        for name, weight in load_file(ours[2]["model.safetensors"]).items()
    )
    reports = [json.loads(files["report.json"].read_text()) for _, _, files in (ours, theirs)]
    assert reports[0].keys() == reports[1].keys()
    assert "torch" not in reports[0]["versions"]
    assert {"numpy", "blas", "onnx", "python", "lenet-platform"} <= set(reports[0]["versions"])
    assert resolve(json.loads(ours[2]["config.json"].read_text())).engine == "numpy"


WITHOUT_TORCH = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path


class NoTorch(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in ("torch", "torchvision") else super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = NoTorch
import core.training.preload
from core.domain.training_config import resolve
from core.training import TrainingJob, train


class Observer:
    def progress(self, progress): pass
    def epoch(self, result): pass
    def checkpoint(self, path, *, epoch, batch): pass
    def log(self, message): pass
    def command(self): pass


config = resolve({"preset": "lenet5-relu-max", "engine": "numpy", "image_size": 28, "epochs": 2, "batch_size": 8})
result = train(TrainingJob(config, Path(sys.argv[1]), Path(sys.argv[2])), Observer())
assert not [name for name in sys.modules if name.split(".")[0] == "torch"]
print(result.metrics.test_accuracy, *sorted(file.name for file in result.files))
"""


def test_it_trains_and_exports_where_torch_cannot_be_imported(pack_path, tmp_path, read_weights):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, str(pack_path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    accuracy, *names = done.stdout.split()
    assert float(accuracy) > 0.3
    models = ["model.npz", "model.onnx", "model.pth", "model.safetensors"]
    assert names == ["config.json", "history.csv", *models, "report.json", "test_predictions.npz"]
    assert read_weights(tmp_path / "model.pth")["conv1.weight"].shape == (6, 1, 5, 5)
