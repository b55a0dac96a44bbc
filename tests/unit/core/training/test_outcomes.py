"""Datasets that are hardly any, and trainings that go wrong: each ends in a model or in a reason, by either engine."""

import itertools
import json
import math

import numpy as np
import pytest
from safetensors.numpy import load_file

from core.datasets.packs import PackWriter
from core.errors import InvalidError, TrainingError
from core.training import trainer
from core.training.trainer import Training

ENGINES = [
    {"engine": "torch", "architecture": "lenet5"},
    {"engine": "torch", "architecture": "lenet5-bn"},
    {"engine": "torch", "architecture": "lenet5-1998", "image_size": 32},
    {"engine": "torch", "architecture": "lenet-wide"},
    {"engine": "torch", "architecture": "lenet-deep"},
    {"engine": "numpy", "architecture": "lenet5"},
]
TOO_FAST = {"optimizer": {"name": "sgd", "learning_rate": 10.0, "momentum": 0.99}, "normalize": "none"}


@pytest.fixture(params=ENGINES, ids=lambda options: f"{options['engine']}-{options['architecture']}")
def net(request):
    return request.param


@pytest.fixture
def write_pack(tmp_path):
    def write(pixels, labels, splits, *, classes=3):
        channels = {1: "grayscale", 3: "rgb"}[pixels.shape[3]]
        writer = PackWriter(tmp_path / "odd", image_size=pixels.shape[1], color_mode=channels)
        writer.append(pixels)
        writer.finish(
            labels=np.array(labels, np.int32),
            splits=np.array(splits, np.uint8),
            paths=["x.png"] * len(labels),
            classes=[f"class {number}" for number in range(classes)],
        )
        return tmp_path / "odd"

    return write


def all_finite(files):
    return all(np.isfinite(weight).all() for weight in load_file(files["model.safetensors"]).values())


@pytest.mark.parametrize("form", list(itertools.product(["dataset", "unit", "none"], [0, 255], [1, 3])), ids=str)
def test_images_of_one_colour_give_a_finite_model_that_guesses(run, write_pack, net, form):
    (normalize, level, channels), size = form, net.get("image_size", 28)
    pixels = np.full((12, size, size, channels), level, np.uint8)
    pack = write_pack(pixels, [0, 1, 2] * 4, [0] * 9 + [2] * 3)
    slow = {"optimizer": {"name": "adam", "learning_rate": 1e-4}, "dropout": 0.0}
    result, _, files = run({**net, "normalize": normalize, "epochs": 2, **slow}, pack=pack)
    assert all_finite(files)
    assert result.metrics.test_accuracy == pytest.approx(1 / 3)


def test_one_channel_of_one_colour_divides_by_no_zero(run, write_pack, net):
    size = net.get("image_size", 28)
    pixels = np.random.default_rng(0).integers(0, 256, (12, size, size, 3), dtype=np.uint8)
    pixels[..., 1] = 77
    _, _, files = run({**net, "epochs": 1}, pack=write_pack(pixels, [0, 1, 2] * 4, [0] * 9 + [2] * 3))
    assert all_finite(files)


def test_a_class_with_one_image_trains_and_is_reported(run, make_pack, net):
    pack = make_pack(splits={0: (9, 9, 1), 2: (2, 2, 1)}, size=net.get("image_size", 28))
    result, observer, files = run({**net, "epochs": 2}, pack=pack)
    assert all_finite(files)
    assert observer.epochs[-1].val_loss is not None
    assert result.metrics.test_accuracy is not None


@pytest.mark.parametrize("balance", ["oversample", "undersample", "class_weights"])
def test_a_class_with_one_image_can_be_balanced(run, make_pack, balance):
    _, _, files = run({"sampling": {"balance": balance}}, pack=make_pack(splits={0: (9, 9, 1), 2: (2, 2, 1)}))
    assert all_finite(files)


def test_no_share_and_no_cap_leaves_a_class_empty(make_job, make_observer, make_pack):
    sampling = {"fraction": 0.01, "max_per_class": 1}
    training = Training(make_job({"sampling": sampling}, pack=make_pack(splits={0: (60, 9, 1)})), make_observer())
    assert np.bincount(training.pack.labels[training.split.train]).tolist() == [1, 1, 1]


def test_training_images_of_one_class_alone_are_refused(run, make_pack, net):
    with pytest.raises(InvalidError) as caught:
        run(net, pack=make_pack(splits={0: (9, 0, 0), 2: (2, 2, 2)}, size=net.get("image_size", 28)))
    (fault,) = caught.value.faults
    assert (fault.pointer, "of the same one" in fault.detail) == ("/dataset_id", True)


def test_a_class_without_training_images_stands_in_nobodys_way(run, make_pack, net):
    pack = make_pack(splits={0: (9, 9, 0), 2: (3, 3, 3)}, size=net.get("image_size", 28))
    _, _, files = run({**net, "epochs": 1}, pack=pack)
    assert all_finite(files)
    assert [row["support"] for row in json.loads(files["report.json"].read_text())["per_class"]] == [3, 3, 3]


def test_a_dataset_of_one_image_is_refused_with_the_reason(run, make_pack, net):
    with pytest.raises(InvalidError) as caught:
        run(net, pack=make_pack(splits={0: (1,)}, classes=("ant",), size=net.get("image_size", 28)))
    assert "two classes" in caught.value.faults[0].detail
    with pytest.raises(InvalidError) as caught:
        run(net, pack=make_pack(splits={0: (1, 0, 0)}, size=net.get("image_size", 28)))
    assert "fewer than the 3 classes" in caught.value.faults[0].detail


def test_one_image_of_each_class_is_enough_to_train_on(run, make_pack, net):
    pack = make_pack(splits={0: (1, 1, 1)}, size=net.get("image_size", 28))
    result, observer, files = run({**net, "epochs": 2}, pack=pack)
    assert all_finite(files)
    assert (observer.epochs[-1].val_loss, result.metrics.test_accuracy) == (None, None)


@pytest.mark.parametrize("batch_size", [1, 53, 8192])
def test_a_batch_of_one_a_last_batch_of_one_and_one_batch_of_all_train(run, make_pack, net, batch_size):
    pack = make_pack(splits={0: (20, 20, 20), 2: (8, 8, 8)}, size=net.get("image_size", 28))
    result, observer, files = run({**net, "batch_size": batch_size, "epochs": 1}, pack=pack)
    assert all_finite(files)
    assert math.isfinite(result.metrics.test_loss)
    assert observer.told[-1].batches == math.ceil(54 / batch_size)


def test_early_stopping_without_an_image_that_validates_is_refused(run, make_pack, net):
    pack = make_pack(splits={0: (4, 4, 4), 2: (2, 2, 2)}, size=net.get("image_size", 28))
    with pytest.raises(InvalidError) as caught:
        run({**net, "early_stopping": {"patience": 1}}, pack=pack)
    assert [fault.pointer for fault in caught.value.faults] == ["/config/early_stopping"]


@pytest.fixture(params=["torch", "numpy"])
def engine(request):
    return {"engine": request.param}


def test_a_loss_that_is_no_number_says_the_epoch_and_what_may_help(run, engine, make_observer):
    observer = make_observer()
    with pytest.raises(TrainingError) as caught:
        run({**engine, **TOO_FAST}, observer=observer)
    assert caught.value.code == "diverged"
    assert "in epoch 1." in caught.value.detail
    for hint in ("optimizer.learning_rate", "warm-up", "batch_norm"):
        assert hint in caught.value.detail


def test_a_training_that_diverges_keeps_the_checkpoint_of_its_last_good_epoch(run, engine, make_observer, monkeypatch):
    monkeypatch.setattr(trainer, "_SECONDS_BETWEEN_CHECKPOINTS", 0)
    # The rate climbs from nothing to so much that decay turns each weight over and makes it nine times as large.
    rising = {"name": "one_cycle", "max_learning_rate": 10.0, "rise": 0.99}
    options = {
        **engine, "epochs": 12, "scheduler": rising,
        "optimizer": {"name": "adamw", "learning_rate": 1e-6, "weight_decay": 1.0},
    }  # fmt: skip
    observer = make_observer()
    with pytest.raises(TrainingError) as caught:
        run(options, observer=observer)
    last = len(observer.epochs)
    assert last >= 1
    assert f"in epoch {last + 1}." in caught.value.detail
    path, epoch, batch = observer.checkpoints[-1]
    assert (epoch, batch) == (last + 1, 0)
    # What it holds is whole: the training goes on from there, and ends as it did.
    again = make_observer()
    with pytest.raises(TrainingError) as caught:
        run(options, observer=again, resume_from=path)
    assert (again.epochs, f"in epoch {last + 1}." in caught.value.detail) == ([], True)


@pytest.mark.parametrize("split", [{0: (20, 20, 20)}, {0: (20, 20, 20), 2: (8, 8, 8)}], ids=["no test", "test"])
def test_the_last_step_may_be_the_one_that_diverges(run, make_pack, engine, break_step, split):
    break_step(7)
    with pytest.raises(TrainingError) as caught:
        run({**engine, "epochs": 1, "batch_size": 8, "validation": {"fraction": 0}}, pack=make_pack(splits=split))
    assert (caught.value.code, "in epoch 1." in caught.value.detail) == ("diverged", True)


@pytest.fixture
def break_step(monkeypatch):
    """Let a step, counted from 0, leave weights that are no numbers, after a loss that is one."""

    def break_step(number):
        opened = trainer.open_engine

        def open_engine(setup):
            engine = opened(setup)
            step, steps = engine.train, iter(range(1000))

            def train(positions, place):
                step(positions, place)
                if next(steps) == number:
                    weights = engine.weights()
                    engine.load_weights({**weights, "classes.bias": weights["classes.bias"] * np.nan})

            engine.train = train
            return engine

        monkeypatch.setattr(trainer, "open_engine", open_engine)

    return break_step


def test_no_checkpoint_holds_weights_that_are_no_numbers(run, engine, make_observer, break_step, monkeypatch):
    monkeypatch.setattr(trainer, "_SECONDS_BETWEEN_CHECKPOINTS", 0)
    break_step(15)
    observer = make_observer()
    with pytest.raises(TrainingError) as caught:
        run({**engine, "epochs": 4, "batch_size": 8, "validation": {"fraction": 0}}, observer=observer)
    assert caught.value.code == "diverged"
    assert "in epoch 2." in caught.value.detail
    assert [(epoch, batch) for _, epoch, batch in observer.checkpoints] == [(2, 0)]


def test_a_pause_after_a_step_that_diverged_ends_the_training(run, engine, make_observer, break_step):
    break_step(2)
    observer = make_observer(command_at=3)
    with pytest.raises(TrainingError) as caught:
        run({**engine, "epochs": 1}, observer=observer)
    assert (caught.value.code, observer.checkpoints) == ("diverged", [])
