"""Options that no other test holds to a formula: each does in a trained net what its name says."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.datasets.packs import Pack
from core.domain.training_config import resolve
from core.training import trainer
from core.training.images import scale_pixels
from core.training.trainer import Training

VALUES = np.linspace(-4, 4, 81)
FORMULAS = {
    "relu": lambda x: max(x, 0.0),
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "silu": lambda x: x / (1 + math.exp(-x)),
    "scaled_tanh": lambda x: 1.7159 * math.tanh(2 * x / 3),
}


@pytest.fixture
def open_training(make_job, make_observer):
    def open_training(options=None, **fields):
        return Training(make_job(options, **fields), make_observer())

    return open_training


@pytest.mark.parametrize("name", FORMULAS)
def test_every_hidden_layer_has_the_activation_that_is_named(open_training, name):
    net = open_training({"activation": name}).engine.net
    hidden = [module for layer, module in net.named_children() if "activation" in layer]
    assert len(hidden) == 4
    for module in hidden:
        given = module(torch.tensor(VALUES, dtype=torch.float32)).numpy()
        np.testing.assert_allclose(given, [FORMULAS[name](value) for value in VALUES], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("pooling", "formula"), [("max", np.max), ("avg", np.mean)])
def test_pooling_takes_what_is_named_of_each_square_of_four(open_training, pooling, formula):
    net = open_training({"pooling": pooling}).engine.net
    maps = torch.rand(2, 6, 24, 24)
    squares = maps.numpy().reshape(2, 6, 12, 2, 12, 2).transpose(0, 1, 2, 4, 3, 5).reshape(2, 6, 12, 12, 4)
    for layer in ("pool1", "pool2"):
        np.testing.assert_allclose(net.get_submodule(layer)(maps).numpy(), formula(squares, axis=-1), rtol=1e-6)


def test_dropout_blanks_its_share_after_each_dense_layer_and_keeps_the_mean(open_training):
    net = open_training({"dropout": 0.3, "dense": [50, 40, 30]}).engine.net
    dropped = [module for name, module in net.named_children() if name.startswith("dropout")]
    assert len(dropped) == 3
    for module in dropped:
        given = module.train()(torch.ones(100_000))
        assert float((given == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
        assert given.unique().tolist() == [0, pytest.approx(1 / 0.7)]
        assert module.eval()(torch.ones(5)).tolist() == [1] * 5


def test_batch_norm_brings_the_maps_of_a_batch_to_mean_zero_and_deviation_one(open_training):
    assert not [name for name, _ in open_training({"batch_norm": False}).engine.net.named_modules() if "norm" in name]
    net = open_training({"batch_norm": True}).engine.net.train()
    for name, channels in (("norm1", 6), ("norm2", 16)):
        given = net.get_submodule(name)(5 + 3 * torch.randn(64, channels, 8, 8)).detach()
        np.testing.assert_allclose(given.mean(dim=(0, 2, 3)), 0, atol=1e-5)
        np.testing.assert_allclose(given.std(dim=(0, 2, 3)), 1, atol=1e-3)


def test_dense_layers_have_the_widths_that_are_named(open_training):
    weights = open_training({"dense": [50, 7]}).engine.weights()
    assert [weights[f"{name}.weight"].shape for name in ("dense1", "dense2", "classes")] == [(50, 256), (7, 50), (3, 7)]


def normalized(path, normalize):
    """Return the training split's pixels as the net sees them, by an own formula in double precision."""
    pack = Pack.open(path)
    pixels = pack.pixels[pack.indices("train")] / 255
    return {
        "dataset": (pixels - pixels.mean(axis=(0, 1, 2))) / pixels.std(axis=(0, 1, 2)),
        "unit": pixels,
        "none": pixels * 255,
        "lecun_1998": pixels * 1.275 - 0.1,
    }[normalize]


@pytest.mark.parametrize("normalize", ["dataset", "unit", "none", "lecun_1998"])
@pytest.mark.parametrize("color_mode", ["grayscale", "rgb"])
def test_pixels_come_to_the_range_that_is_named(make_pack, normalize, color_mode):
    path = make_pack(color_mode=color_mode)
    pack = Pack.open(path)
    scale, shift = scale_pixels(resolve({"normalize": normalize}), pack)
    seen = pack.pixels[pack.indices("train")] * scale[:, 0, 0] + shift[:, 0, 0]
    np.testing.assert_allclose(seen, normalized(path, normalize), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("engine", ["torch", "numpy"])
@pytest.mark.parametrize("normalize", ["dataset", "unit", "none", "lecun_1998"])
def test_the_net_itself_keeps_the_scale_that_is_named(open_training, engine, normalize):
    training = open_training({"engine": engine, "normalize": normalize})
    weights = training.engine.weights()
    scale, shift = scale_pixels(training.config, training.pack)
    np.testing.assert_array_equal(weights["scaling.scale"], scale)
    np.testing.assert_array_equal(weights["scaling.shift"], shift)


@pytest.mark.parametrize(("color_mode", "channels"), [("grayscale", 1), ("rgb", 3)])
@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_the_first_convolution_takes_the_channels_of_the_colour_mode(
    open_training, make_pack, engine, color_mode, channels
):
    options = {"engine": engine, "color_mode": color_mode}
    training = open_training(options, pack=make_pack(color_mode=color_mode))
    assert training.engine.weights()["conv1.weight"].shape == (6, channels, 5, 5)


@pytest.mark.parametrize(("image_size", "inputs"), [(28, 16 * 4 * 4), (32, 16 * 5 * 5), (57, 16 * 11 * 11)])
def test_the_dense_layers_width_follows_the_image_size(open_training, make_pack, image_size, inputs):
    training = open_training({"image_size": image_size}, pack=make_pack(size=image_size))
    assert training.engine.weights()["dense1.weight"].shape == (120, inputs)


@pytest.mark.parametrize("deterministic", [True, False])
def test_torch_is_told_whether_results_must_repeat(open_training, deterministic, request):
    before = torch.are_deterministic_algorithms_enabled()
    request.addfinalizer(lambda: torch.use_deterministic_algorithms(before))
    open_training({"deterministic": deterministic})
    assert torch.are_deterministic_algorithms_enabled() is deterministic


@pytest.mark.parametrize(("min_delta", "best_epoch", "epochs"), [(0.0, 5, 5), (0.25, 4, 5), (0.5, 1, 4)])
def test_what_improves_by_less_than_min_delta_is_no_progress(run, monkeypatch, min_delta, best_epoch, epochs):
    losses = iter([0.9, 0.8, 0.7, 0.6, 0.5])
    real = trainer.score
    monkeypatch.setattr(trainer, "score", lambda *given: replace(real(*given), loss=next(losses, 0.4)))
    stopping = {"patience": 3, "min_delta": min_delta}
    result, observer, _ = run({"epochs": 5, "early_stopping": stopping})
    assert (result.metrics.best_epoch, len(observer.epochs)) == (best_epoch, epochs)


def test_the_learning_rate_of_the_optimizer_and_the_course_is_that_of_each_epoch(run):
    scheduler = {"name": "step", "step_epochs": 2, "gamma": 0.5}
    optimizer = {"name": "adam", "learning_rate": 4e-3}
    _, observer, files = run({"epochs": 4, "optimizer": optimizer, "scheduler": scheduler})
    assert [epoch.learning_rate for epoch in observer.epochs] == pytest.approx([4e-3, 4e-3, 2e-3, 2e-3])
    assert files["history.csv"].read_text().count("\n") == 5
