"""What each option changes in a whole training: an effect that must show."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core.datasets.packs import Pack
from core.inference.predictor import Predictor
from core.training import torch_engine, trainer
from core.training.engines import Choice, Step
from core.training.trainer import Training

RESUMED = {"architecture": "lenet5-bn", "dropout": 0.3, "augmentation": "light", "early_stopping": {"patience": 3}}


@pytest.fixture
def script_losses(monkeypatch):
    """Let validation losses be these, one after another, and 1 afterwards."""

    def script(*losses):
        coming = iter(losses)
        monkeypatch.undo()
        real = trainer.score
        monkeypatch.setattr(trainer, "score", lambda *given: replace(real(*given), loss=next(coming, 1.0)))

    return script


def test_a_training_on_a_plateau_is_resumed_at_its_reduced_rate(run, make_observer, script_losses):
    options = {"epochs": 4, "scheduler": {"name": "reduce_on_plateau", "patience": 1, "gamma": 0.5}}
    script_losses(0.5, 0.6, 0.7, 0.8)
    _, whole, _ = run(options)
    assert [epoch.learning_rate for epoch in whole.epochs] == pytest.approx([2e-3, 2e-3, 1e-3, 5e-4])
    script_losses(0.5, 0.6)
    _, paused, _ = run(options, observer=make_observer(command_at=16))
    script_losses(0.7, 0.8)
    _, later, _ = run(options, resume_from=paused.checkpoints[-1][0])
    assert [epoch.learning_rate for epoch in later.epochs] == pytest.approx([1e-3, 5e-4])


def train_engine(make_job, make_observer, options, steps=5):
    """Return an engine after some steps of its first epoch."""
    training = Training(make_job(options), make_observer())
    order = training._order(1)
    training.engine.start_sums(loss=0.0, right=0)
    for batch in range(steps):
        training.engine.train(order[batch * 8 : (batch + 1) * 8], Step(1, batch, 2e-3))
    return training


def test_averaged_weights_are_what_is_looked_at_and_kept(make_job, make_observer):
    training = train_engine(make_job, make_observer, {"ema": 0.99, "architecture": "lenet5-bn"})
    engine, positions = training.engine, training.split.test
    kept, own = engine.weights(), engine.net.state_dict()
    assert not np.array_equal(kept["norm1.running_mean"], own["norm1.running_mean"].numpy())
    looked = engine.compute_logits(positions, lambda _: None)
    engine.net.load_state_dict({name: torch.from_numpy(value) for name, value in kept.items()})
    engine.average = None
    np.testing.assert_array_equal(engine.compute_logits(positions, lambda _: None), looked)


def test_averaged_weights_are_exported(run, read_weights):
    _, _, files = run({"ema": 0.9, "architecture": "lenet5-bn"})
    assert int(read_weights(files["model.pth"])["norm1.num_batches_tracked"]) == 21


def test_the_best_averaged_weights_are_restored(run, read_weights, same_bits, script_losses):
    script_losses(0.9, 0.5, 0.7, 0.6)
    options = {"epochs": 9, "ema": 0.9, "early_stopping": {"patience": 2}}
    _, _, files = run(options)
    script_losses(0.9, 0.5)
    two = run({**options, "epochs": 2})[2]
    assert same_bits(read_weights(files["model.pth"]), read_weights(two["model.pth"]))


def test_a_warm_start_begins_the_average_at_the_given_weights(run, make_job, make_observer, same_bits):
    _, _, files = run()
    warm = Training(make_job({"ema": 0.9}, initial_weights=files["model.safetensors"]), make_observer())
    assert same_bits(warm.engine.average.net.state_dict(), load_file(files["model.safetensors"]))


UNBALANCED = {0: (60, 20, 10), 1: (4, 3, 2), 2: (4, 4, 4)}


@pytest.mark.parametrize(
    ("sampling", "images"),
    [
        ({"balance": "none"}, 90),
        ({"balance": "class_weights"}, 90),
        ({"balance": "oversample"}, 180),
        ({"balance": "undersample"}, 30),
        ({"fraction": 0.5}, 45),
        ({"max_per_class": 15}, 40),
    ],
)
def test_sampling_changes_the_epoch_and_no_other_split(make_job, make_observer, make_pack, sampling, images):
    training = Training(make_job({"sampling": sampling}, pack=make_pack(splits=UNBALANCED)), make_observer())
    assert training.epoch_images == images
    assert training.steps == math.ceil(images / 8)
    assert (len(training.split.validation), len(training.split.test)) == (9, 12)
    assert training.run()
    assert training.state.place.epoch == 4


def test_progress_counts_the_images_that_are_sampled(run, make_pack):
    _, observer, _ = run({"sampling": {"balance": "oversample"}}, pack=make_pack(splits=UNBALANCED))
    fractions = [told.fraction for told in observer.told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_class_weights_are_those_of_the_images_that_train(make_job, make_observer, make_pack):
    options = {"sampling": {"balance": "class_weights", "max_per_class": 20}}
    training = Training(make_job(options, pack=make_pack(splits=UNBALANCED)), make_observer())
    assert training.engine.class_weights.tolist() == pytest.approx([50 / 60, 50 / 60, 50 / 30])


def test_class_weights_change_what_is_learnt(run, make_pack, read_weights, same_bits):
    pack = make_pack(splits=UNBALANCED)
    plain, weighed = (run({"sampling": {"balance": balance}}, pack=pack)[2] for balance in ("none", "class_weights"))
    assert not same_bits(read_weights(plain["model.pth"]), read_weights(weighed["model.pth"]))


def test_a_training_by_squares_exports_the_softmax_as_probabilities(run, pack_path):
    result, observer, files = run({"loss": "mse_one_hot", "label_smoothing": 0.1, "epochs": 3})
    assert observer.epochs[-1].train_loss < 0.15
    assert result.metrics.test_accuracy > 0.9
    pack = Pack.open(pack_path)
    positions = pack.indices("test")
    shares = Predictor.open(files["model.onnx"]).predict(pack.pixels[positions])
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    expected = -np.log(shares[np.arange(len(positions)), pack.labels[positions]]).mean()
    assert result.metrics.test_loss == pytest.approx(float(expected), abs=1e-5)


def test_half_precision_trains_and_is_looked_at_and_exported_in_full(run, pack_path, read_weights, same_bits):
    options = {"architecture": "lenet5-bn", "epochs": 3}
    full, half = (run({**options, "precision": name}) for name in ("fp32", "bf16"))
    assert half[0].metrics.test_accuracy > 0.9
    weights = read_weights(half[2]["model.pth"])
    assert not same_bits(weights, read_weights(full[2]["model.pth"]))
    assert {weight.dtype for weight in weights.values()} == {torch.float32, torch.int64}
    pack = Pack.open(pack_path)
    positions = pack.indices("test")
    shares = Predictor.open(half[2]["model.onnx"]).predict(pack.pixels[positions])
    expected = -np.log(shares[np.arange(len(positions)), pack.labels[positions]]).mean()
    assert half[0].metrics.test_loss == pytest.approx(float(expected), abs=1e-5)


def test_half_precision_works_where_the_net_is_not_lowered(run):
    result, _, _ = run({"architecture": "lenet-wide", "precision": "bf16", "epochs": 2})
    assert result.metrics.test_accuracy > 0.9


def test_a_short_training_is_not_probed(run, monkeypatch):
    monkeypatch.setattr(torch_engine, "has_bfloat16", lambda _: True)
    monkeypatch.setattr(torch_engine, "choose_precision", lambda *_: pytest.fail("a probe"))
    _, observer, files = run({"precision": "auto"})
    assert observer.logged == ["Computes in fp32: so short a training is not worth a choice."]
    assert json.loads(files["config.json"].read_text())["precision"] == "fp32"


def test_a_device_without_half_precision_is_not_probed(make_job, make_observer, monkeypatch):
    monkeypatch.setattr(torch_engine, "has_bfloat16", lambda _: False)
    monkeypatch.setattr(torch_engine, "_LEAST_WORK", 0)
    training = Training(make_job({"precision": "auto"}), make_observer())
    assert training.engine.choice.precision == "fp32"
    assert "has no bfloat16" in training.engine.choice.reason


@pytest.fixture
def let_probe_say(monkeypatch):
    """Let every training be probed, and the probe, which is run, choose this."""

    def let(precision):
        def choose(compute, recall):
            for kind in (torch.float32, torch.bfloat16):
                assert torch.isfinite(compute(kind, 0)).all()
                assert not torch.equal(compute(kind, 0), compute(kind, 1))
            return Choice(precision, "the test says so")

        monkeypatch.setattr(torch_engine, "_LEAST_WORK", 0)
        monkeypatch.setattr(torch_engine, "has_bfloat16", lambda _: True)
        monkeypatch.setattr(torch_engine, "choose_precision", choose)

    return let


def test_equal_trainings_choose_alike_whatever_the_clock_says_the_second_time(
    make_job, make_observer, monkeypatch, tmp_path
):
    speedups = iter((3.0, 0.3, 0.3))
    monkeypatch.setattr(torch_engine, "_LEAST_WORK", 0)
    monkeypatch.setattr(torch_engine, "has_bfloat16", lambda _: True)
    monkeypatch.setattr("core.training.precision._measure_speedup", lambda *_: next(speedups))

    def choose(**options):
        job = replace(make_job({"precision": "auto", **options}), speeds=tmp_path / "speeds")
        return Training(job, make_observer()).engine.choice.precision

    assert [choose(), choose(seed=1), choose(batch_size=7)] == ["bf16", "bf16", "fp32"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_auto_chooses_is_told_and_trains_as_if_it_were_named(
    run, read_weights, same_bits, let_probe_say, precision
):
    options = {"architecture": "lenet5-bn", "dropout": 0.3, "augmentation": "light", "ema": 0.9}
    named = run({**options, "precision": precision})[2]
    let_probe_say(precision)
    _, observer, files = run({**options, "precision": "auto"})
    assert same_bits(read_weights(files["model.pth"]), read_weights(named["model.pth"]))
    assert observer.logged == [f"Computes in {precision}: the test says so."]
    assert json.loads(files["config.json"].read_text())["precision"] == precision
    assert Predictor.open(files["model.onnx"]).metadata.provenance["precision"] == precision


def test_a_resumed_training_computes_as_its_first_attempt_chose(
    run, make_observer, read_weights, same_bits, let_probe_say
):
    options = {**RESUMED, "precision": "auto"}
    let_probe_say("bf16")
    _, _, whole = run(options)
    _, paused, _ = run(options, observer=make_observer(command_at=10))
    let_probe_say("fp32")
    result, later, files = run(options, resume_from=paused.checkpoints[-1][0])
    assert later.logged == ["Computes in bf16: an earlier attempt has chosen it."]
    assert same_bits(read_weights(files["model.pth"]), read_weights(whole["model.pth"]))
    assert result.exact_resume


def test_a_resume_on_another_processor_is_not_called_exact(run, make_observer, monkeypatch):
    _, paused, _ = run(observer=make_observer(command_at=3))
    monkeypatch.setattr(trainer, "name_processor", lambda: "another")
    assert not run(resume_from=paused.checkpoints[-1][0])[0].exact_resume
