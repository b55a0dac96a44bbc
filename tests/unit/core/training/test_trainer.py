import csv
import json
import math
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core.datasets.packs import Pack
from core.domain.jobs import StopReason
from core.domain.training_config import resolve
from core.errors import IntegrityError, InvalidError, TrainingError
from core.training import trainer
from core.training.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from core.training.trainer import Training


def test_it_learns_what_can_be_learnt(run):
    result, observer, _ = run({"epochs": 6})
    assert result.metrics.test_accuracy == 1.0
    assert result.stop_reason is StopReason.EPOCHS_DONE
    assert [epoch.epoch for epoch in observer.epochs] == [1, 2, 3, 4, 5, 6]
    assert observer.epochs[-1].train_loss < observer.epochs[0].train_loss


@pytest.mark.parametrize("architecture", ["lenet5", "lenet5-bn", "lenet-wide"])
@pytest.mark.parametrize("color_mode", ["grayscale", "rgb"])
def test_each_architecture_learns_one_batch_by_heart(run, make_pack, architecture, color_mode):
    pack = make_pack(splits={0: (4, 4, 4), 2: (2, 2, 2)}, color_mode=color_mode)
    options = {"architecture": architecture, "batch_size": 16, "epochs": 25, "validation": {"fraction": 0}}
    _, observer, _ = run({**options, "dropout": 0.0}, pack=pack)
    assert observer.epochs[-1].train_loss < 0.05
    assert observer.epochs[-1].train_accuracy == 1.0


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": {"name": "sgd", "learning_rate": 0.02, "momentum": 0.9}},
        {"optimizer": {"name": "sgd", "learning_rate": 0.02, "momentum": 0.9, "nesterov": True}},
        {"optimizer": {"name": "adamw", "learning_rate": 2e-3}},
        {"optimizer": {"name": "muon"}},
        {"optimizer": {"name": "nadam", "learning_rate": 2e-3}},
        {"optimizer": {"name": "rmsprop", "learning_rate": 5e-4}},
        {"optimizer": {"name": "adagrad"}},
        {"architecture": "lenet5-bn"},
        {"dropout": 0.3},
        {"augmentation": "light"},
        {"augmentation": {"elastic": 0.5, "crop_padding": 1}},
        {"ema": 0.5},
        {"sampling": {"fraction": 0.9}},
        {"activation": "tanh", "pooling": "avg", "init": "xavier_uniform"},
        {"dense": [32]},
        {"label_smoothing": 0.1},
        {"l1": 1e-4, "l2": 1e-4},
        {"scheduler": {"name": "one_cycle", "max_learning_rate": 5e-3}},
        {"normalize": "unit"},
        {"normalize": "none", "architecture": "lenet5-bn"},
    ],
)
def test_every_option_trains_otherwise_than_without_it(run, read_weights, same_bits, plain_weights, options):
    result, observer, files = run(options)
    assert not same_bits(read_weights(files["model.pth"]), plain_weights)
    assert observer.epochs[-1].train_loss < math.log(3) + 0.2
    assert result.metrics.test_accuracy > 0.5


@pytest.fixture
def plain_weights(run, read_weights):
    return read_weights(run()[2]["model.pth"])


def test_the_same_seed_gives_the_same_weights_to_the_bit(run, read_weights, same_bits):
    options = {"architecture": "lenet5-bn", "dropout": 0.3, "augmentation": "light"}
    first, again, other = (read_weights(run({**options, "seed": seed})[2]["model.pth"]) for seed in (1, 1, 2))
    assert same_bits(first, again)
    assert not same_bits(first, other)


RESUMED = {
    "architecture": "lenet5-bn",
    "dropout": 0.3,
    "augmentation": "light",
    "early_stopping": {"patience": 3},
    "scheduler": {"name": "cosine", "warmup_epochs": 0.5},
}


@pytest.mark.parametrize(
    "interruption",
    [
        *((steps, {}) for steps in (0, 1, 7, 10, 14, 17)),
        *((10, {"optimizer": {"name": name}}) for name in ("adam", "nadam", "muon", "rmsprop", "adagrad")),
        (10, {"optimizer": {"name": "sgd", "nesterov": True}}),
        (10, {"ema": 0.9}),
        (10, {"augmentation": "strong", "loss": "mse_one_hot"}),
        (10, {"sampling": {"balance": "class_weights"}}),
    ],
    ids=str,
)
def test_a_paused_training_ends_as_if_it_had_not_been(run, make_observer, read_weights, same_bits, interruption):
    steps, changed = interruption
    options = {**RESUMED, "optimizer": {"name": "adamw", "learning_rate": 2e-3}, **changed}
    whole, seen, whole_files = run(options)
    result, paused, _ = run(options, observer=make_observer(command_at=steps))
    assert result is None
    path, epoch, batch = paused.checkpoints[-1]
    assert (epoch, batch) == (1 + steps // 7, steps % 7)

    torch.manual_seed(123)
    torch.rand(17)
    resumed, later, files = run(options, resume_from=path)
    assert same_bits(read_weights(files["model.pth"]), read_weights(whole_files["model.pth"]))
    assert files["report.json"].read_bytes() == whole_files["report.json"].read_bytes()
    assert resumed.metrics == whole.metrics
    assert resumed.exact_resume
    told = [(epoch.epoch, epoch.train_loss, epoch.val_loss) for epoch in paused.epochs + later.epochs]
    assert told == [(epoch.epoch, epoch.train_loss, epoch.val_loss) for epoch in seen.epochs]
    with files["history.csv"].open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_a_training_interrupted_twice_ends_the_same(run, make_observer, read_weights, same_bits):
    _, first, _ = run(RESUMED, observer=make_observer(command_at=3))
    _, second, _ = run(RESUMED, observer=make_observer(command_at=9), resume_from=first.checkpoints[-1][0])
    _, _, files = run(RESUMED, resume_from=second.checkpoints[-1][0])
    assert same_bits(read_weights(files["model.pth"]), read_weights(run(RESUMED)[2]["model.pth"]))


def test_a_resumed_training_goes_on_from_its_fraction(run, make_observer):
    _, paused, _ = run(observer=make_observer(command_at=14))
    _, later, _ = run(resume_from=paused.checkpoints[-1][0])
    assert later.told[0].fraction > 0.6


def test_a_resume_on_other_threads_is_not_called_exact(run, make_observer):
    _, paused, _ = run(observer=make_observer(command_at=3))
    result, _, _ = run(resume_from=paused.checkpoints[-1][0], threads=2)
    assert not result.exact_resume


@pytest.mark.parametrize(
    ("circumstance", "value"),
    [("threads", 7), ("device", "cuda"), ("processor", "another"), ("versions", {"torch": "1"}), ("code", "older")],
)
def test_a_resume_in_other_circumstances_is_not_called_exact(run, make_observer, tmp_path, circumstance, value):
    _, paused, _ = run(observer=make_observer(command_at=3))
    content = read_checkpoint(paused.checkpoints[-1][0])
    assert content.plain["circumstances"][circumstance] != value
    told = {**content.plain, "circumstances": {**content.plain["circumstances"], circumstance: value}}
    other = write_checkpoint(tmp_path, Checkpoint(told, content.arrays), epoch=1, batch=3)
    result, _, _ = run(resume_from=other)
    assert not result.exact_resume


@pytest.mark.parametrize("other", [{"seed": 9}, {"architecture": "lenet5-bn"}])
def test_a_checkpoint_of_another_config_is_refused(run, make_observer, other):
    _, paused, _ = run(observer=make_observer(command_at=3))
    with pytest.raises(IntegrityError, match="another config"):
        run(other, resume_from=paused.checkpoints[-1][0])


def test_a_checkpoint_of_before_an_option_was_added_is_gone_on_from(run, make_observer, tmp_path):
    _, paused, _ = run(observer=make_observer(command_at=3))
    content = read_checkpoint(paused.checkpoints[-1][0])
    config = {name: value for name, value in content.plain["config"].items() if name != "early_stopping"}
    assert len(config) == len(content.plain["config"]) - 1
    older = write_checkpoint(
        tmp_path, Checkpoint({**content.plain, "config": config}, content.arrays), epoch=1, batch=3
    )
    result, _, _ = run(resume_from=older)
    assert result.metrics == run()[0].metrics


def test_a_checkpoint_of_other_data_is_refused(run, make_observer, make_pack):
    _, paused, _ = run(observer=make_observer(command_at=3))
    with pytest.raises(IntegrityError, match="other data"):
        run(resume_from=paused.checkpoints[-1][0], pack=make_pack(seed=8))


def test_a_checkpoint_of_another_form_is_refused(run, make_job, make_observer):
    training = Training(make_job(), make_observer())
    content = Checkpoint({"config": training.config.plain(), "data": training.fingerprint}, {})
    path = write_checkpoint(training.job.work_dir, content, epoch=1, batch=0)
    with pytest.raises(IntegrityError, match="this version"):
        run(resume_from=path)


def test_a_checkpoint_is_written_after_each_epoch(run, monkeypatch):
    monkeypatch.setattr(trainer, "_SECONDS_BETWEEN_CHECKPOINTS", 0)
    _, observer, _ = run({"epochs": 4})
    assert [(epoch, batch) for _, epoch, batch in observer.checkpoints] == [(2, 0), (3, 0), (4, 0), (5, 0)]
    _, observer, _ = run({"epochs": 4, "checkpoint_every": 2})
    assert [(epoch, batch) for _, epoch, batch in observer.checkpoints] == [(3, 0), (5, 0)]


def test_a_training_whose_last_epoch_is_saved_only_ends(run, monkeypatch, read_weights, same_bits):
    monkeypatch.setattr(trainer, "_SECONDS_BETWEEN_CHECKPOINTS", 0)
    _, observer, whole = run()
    _, later, files = run(resume_from=observer.checkpoints[-1][0])
    assert later.epochs == []
    assert {(told.epoch, told.batch) for told in later.told} == {(3, 7)}
    assert same_bits(read_weights(files["model.pth"]), read_weights(whole["model.pth"]))


def test_a_long_epoch_is_saved_in_its_middle(run, monkeypatch):
    monkeypatch.setattr(trainer, "_SECONDS_WITHOUT_CHECKPOINT", 0)
    monkeypatch.setattr("core.training.progress._SECONDS_BETWEEN", 0)
    _, observer, _ = run({"epochs": 1})
    assert [(epoch, batch) for _, epoch, batch in observer.checkpoints] == [(1, batch) for batch in range(1, 8)]


def test_a_training_saved_after_the_last_step_of_an_epoch_goes_on(run, monkeypatch, read_weights, same_bits):
    monkeypatch.setattr(trainer, "_SECONDS_WITHOUT_CHECKPOINT", 0)
    monkeypatch.setattr("core.training.progress._SECONDS_BETWEEN", 0)
    _, observer, whole = run({"epochs": 1})
    path, _, batch = observer.checkpoints[-1]
    _, later, files = run({"epochs": 1}, resume_from=path)
    assert batch == 7
    assert [epoch.epoch for epoch in later.epochs] == [1]
    assert same_bits(read_weights(files["model.pth"]), read_weights(whole["model.pth"]))


def test_stop_ends_the_epoch_and_keeps_the_model(run, make_observer):
    result, observer, files = run({"epochs": 5}, observer=make_observer(command_at=9, says="stop"))
    assert result.stop_reason is StopReason.STOPPED
    assert len(observer.epochs) == 2
    assert files["model.onnx"].stat().st_size > 0


@pytest.fixture
def scripted(make_observer):
    """Return a function that makes an observer which says what its script has for a step, counted from 1."""

    def make(script):
        observer = make_observer()
        steps = count(1)
        observer.command = lambda: script.get(next(steps))
        return observer

    return make


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_stop_that_a_pause_overtakes_is_forgotten(run, scripted, read_weights, same_bits, epoch):
    step = 7 * (epoch - 1) + 2
    result, paused, _ = run(observer=scripted({step: "stop", step + 2: "pause"}))
    assert result is None
    resumed, _, files = run(resume_from=paused.checkpoints[-1][0])
    assert resumed.stop_reason is StopReason.EPOCHS_DONE
    assert resumed.exact_resume
    assert same_bits(read_weights(files["model.pth"]), read_weights(run()[2]["model.pth"]))


def test_a_stop_that_is_asked_for_again_ends_the_same_epoch(run, scripted, read_weights, same_bits):
    _, paused, _ = run(observer=scripted({9: "stop", 11: "pause"}))
    resumed, later, files = run(resume_from=paused.checkpoints[-1][0], observer=scripted({1: "stop"}))
    assert (resumed.stop_reason, [epoch.epoch for epoch in later.epochs]) == (StopReason.STOPPED, [2])
    assert same_bits(
        read_weights(files["model.pth"]), read_weights(run(observer=scripted({9: "stop"}))[2]["model.pth"])
    )


def test_a_pause_where_a_checkpoint_was_just_written_writes_none_over_it(run, make_observer, monkeypatch):
    monkeypatch.setattr(trainer, "_SECONDS_BETWEEN_CHECKPOINTS", 0)
    _, observer, _ = run(observer=make_observer(command_at=7))
    assert [(epoch, batch) for _, epoch, batch in observer.checkpoints] == [(2, 0)]


def test_early_stopping_restores_the_best_weights(run, read_weights, same_bits, monkeypatch):
    losses = iter([0.9, 0.5, 0.7, 0.6, 0.1])

    def scripted(logits, labels, real=trainer.score):
        return replace(real(logits, labels), loss=next(losses, 0.05))

    monkeypatch.setattr(trainer, "score", scripted)
    options = {"epochs": 9, "early_stopping": {"patience": 2, "min_delta": 0.01}}
    result, observer, files = run(options)
    assert result.stop_reason is StopReason.EARLY_STOPPING
    assert len(observer.epochs) == 4
    assert result.metrics.best_epoch == 2
    assert result.metrics.val_loss == 0.5
    assert result.metrics.train_loss == observer.epochs[1].train_loss
    monkeypatch.undo()
    two = run({"epochs": 2, "early_stopping": {"patience": 2}})[2]
    assert same_bits(read_weights(files["model.pth"]), read_weights(two["model.pth"]))


def test_early_stopping_may_keep_the_last_weights(run, monkeypatch):
    losses = iter([0.5, 0.7, 0.6])
    monkeypatch.setattr(
        trainer,
        "score",
        lambda logits, labels, real=trainer.score: replace(real(logits, labels), loss=next(losses, 1.0)),
    )
    result, observer, _ = run({"epochs": 9, "early_stopping": {"patience": 2, "restore_best": False}})
    assert result.metrics.best_epoch == 1
    assert result.metrics.train_loss == observer.epochs[-1].train_loss


def test_early_stopping_by_accuracy_waits_for_a_rise(run, monkeypatch):
    accuracies = iter([0.5, 0.9, 0.9, 0.8])
    monkeypatch.setattr(
        trainer,
        "score",
        lambda logits, labels, real=trainer.score: replace(real(logits, labels), accuracy=next(accuracies, 0.1)),
    )
    result, observer, _ = run({"epochs": 9, "early_stopping": {"patience": 2, "monitor": "val_accuracy"}})
    assert len(observer.epochs) == 4
    assert result.metrics.best_epoch == 2


def test_a_loss_that_is_no_number_ends_with_the_epoch_and_a_hint(run, make_observer):
    observer = make_observer()
    with pytest.raises(TrainingError) as caught:
        run(
            {"optimizer": {"name": "sgd", "learning_rate": 10.0, "momentum": 0.99}, "normalize": "none"},
            observer=observer,
        )
    assert caught.value.code == "diverged"
    assert "epoch 1" in caught.value.detail
    assert "learning_rate" in caught.value.detail
    assert observer.checkpoints == []


def test_a_batch_of_one_works_with_batch_norm(run):
    result, _, _ = run({"architecture": "lenet5-bn", "batch_size": 1, "epochs": 1})
    assert math.isfinite(result.metrics.test_loss)


def test_a_batch_of_one_works_with_batch_norm_in_the_net_of_the_paper(run, make_pack):
    options = {"architecture": "lenet5-1998", "image_size": 32, "batch_norm": True, "batch_size": 1, "epochs": 1}
    result, _, _ = run(options, pack=make_pack(size=32))
    assert math.isfinite(result.metrics.test_loss)


def test_a_last_batch_of_one_works_with_batch_norm(run):
    result, _, _ = run({"architecture": "lenet-wide", "batch_size": 53, "epochs": 1})
    assert math.isfinite(result.metrics.test_loss)


def test_a_class_with_one_image_trains(run, make_pack):
    result, _, _ = run(pack=make_pack(splits={0: (9, 9, 1), 2: (2, 2, 1)}))
    assert result.metrics.test_accuracy is not None


@pytest.mark.parametrize("options", [{"image_size": 32}, {"color_mode": "rgb"}])
def test_a_pack_of_another_form_is_refused(run, options):
    with pytest.raises(IntegrityError, match="another image size or colour mode"):
        run(options)


def test_one_class_is_refused(run, make_pack):
    with pytest.raises(InvalidError) as caught:
        run(pack=make_pack(splits={0: (9,), 2: (2,)}, classes=("ant",)))
    assert "two classes" in caught.value.faults[0].detail


def test_fewer_images_than_classes_are_refused(run, make_pack):
    with pytest.raises(InvalidError):
        run(pack=make_pack(splits={0: (1, 1, 0), 2: (1, 1, 1)}))


def test_images_of_one_colour_train_to_finite_weights(run, tmp_path, make_pack, read_weights):
    path = tmp_path / "blank"
    writer = trainer_pack(path)
    writer.append(np.zeros((12, 28, 28, 1), np.uint8))
    labels = np.arange(12, dtype=np.int32) % 3
    splits = np.array([0] * 9 + [2] * 3, np.uint8)
    writer.finish(labels=labels, splits=splits, paths=["x"] * 12, classes=["a", "b", "c"])
    _, _, files = run({"architecture": "lenet5-bn"}, pack=path)
    assert all(torch.isfinite(weight).all() for weight in read_weights(files["model.pth"]).values())


def trainer_pack(path):
    from core.datasets.packs import PackWriter

    return PackWriter(path, image_size=28, color_mode="grayscale")


def test_a_dataset_without_validation_or_test_images_trains(run, make_pack):
    result, observer, files = run({"validation": {"fraction": 0}}, pack=make_pack(splits={0: (5, 5, 5)}))
    assert observer.epochs[-1].val_loss is None
    assert (result.metrics.test_accuracy, result.metrics.best_epoch) == (None, None)
    assert json.loads(files["report.json"].read_text())["accuracy"] is None


def test_the_report_counts_every_test_image(run, pack_path):
    result, _, files = run({"epochs": 1})
    report = json.loads(files["report.json"].read_text())
    confusion = np.array(report["confusion_matrix"])
    assert confusion.sum(axis=1).tolist() == [8, 8, 8]
    assert report["accuracy"] == pytest.approx(np.trace(confusion) / 24) == result.metrics.test_accuracy
    assert len(report["mistakes"]) == 24 - np.trace(confusion)
    sureness = [mistake["confidence"] for mistake in report["mistakes"]]
    assert sureness == sorted(sureness, reverse=True)
    pack = Pack.open(pack_path)
    paths = {pack.image_path(int(position)) for position in pack.indices("test")}
    for mistake in report["mistakes"]:
        assert mistake["path"] in paths
        assert f"/{mistake['true']}/" in mistake["path"]
        assert mistake["true"] != mistake["predicted"]


def test_the_results_are_the_contracts_files(run, read_weights, same_bits):
    result, _, files = run({"epochs": 2})
    assert set(files) == {
        "model.pth",
        "model.safetensors",
        "model.npz",
        "model.onnx",
        "config.json",
        "history.csv",
        "report.json",
        "test_predictions.npz",
    }
    weights = read_weights(files["model.pth"])
    assert same_bits(weights, load_file(files["model.safetensors"]))
    trained = sum(tensor.numel() for name, tensor in weights.items() if not name.startswith("scaling"))
    assert trained == result.parameters
    stored = json.loads(files["config.json"].read_text())
    assert (stored["epochs"], stored["color_mode"]) == (2, "grayscale")
    assert resolve(stored).plain() == stored


def test_progress_reaches_one(run):
    _, observer, _ = run()
    fractions = [told.fraction for told in observer.told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_a_warm_start_begins_with_the_weights_that_it_is_given(run, make_job, make_observer, same_bits):
    _, _, files = run()
    warm = Training(make_job(initial_weights=files["model.safetensors"]), make_observer())
    assert same_bits(warm.engine.net.state_dict(), load_file(files["model.safetensors"]))


def test_a_warm_start_that_was_interrupted_leaves_the_same_files(run, make_observer):
    base = run({"epochs": 1})[2]["model.safetensors"]
    _, _, whole = run(initial_weights=base)
    _, paused, _ = run(initial_weights=base, observer=make_observer(command_at=10))
    _, _, files = run(resume_from=paused.checkpoints[-1][0])
    for name in ("model.pth", "model.safetensors", "model.onnx", "report.json"):
        assert files[name].read_bytes() == whole[name].read_bytes()


def test_a_long_look_for_leaks_gives_signs_of_life(run, monkeypatch):
    monkeypatch.setattr("core.training.progress._SECONDS_BETWEEN", 0)
    monkeypatch.setattr("core.reporting.leaks._TOLD_EVERY", 1)
    _, often, _ = run({"epochs": 1})
    monkeypatch.setattr("core.reporting.leaks._TOLD_EVERY", 10**9)
    _, seldom, _ = run({"epochs": 1})
    assert len(often.told) > len(seldom.told) + 10


def test_a_warm_start_keeps_the_scaling_of_its_own_data(run, make_job, make_observer, make_pack):
    _, _, files = run()
    weights = load_file(files["model.safetensors"])
    warm = Training(make_job(initial_weights=files["model.safetensors"], pack=make_pack(seed=4)), make_observer())
    assert not torch.equal(warm.engine.net.state_dict()["scaling.shift"], weights["scaling.shift"])
