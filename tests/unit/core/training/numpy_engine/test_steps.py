"""Whole steps of a whole net, next to torch's."""

import numpy as np
import pytest
import torch

from core.domain.architectures import layers
from core.domain.training_config import resolve
from core.errors import TrainingError
from core.training.engines import Setup, Step
from core.training.images import split_images
from core.training.numpy_engine.engine import NumpyEngine
from core.training.numpy_engine.initialization import draw_weights
from core.training.numpy_engine.nets import Net
from core.training.torch_engine import TorchEngine

CLASSIC = {"preset": "lenet5-relu-max", "batch_size": 16, "epochs": 1, "color_mode": "grayscale", "image_size": 28}
STEPS = 4


@pytest.fixture
def pair(make_pack):
    """Return both engines with the same weights, and positions to train on."""
    from core.datasets.packs import Pack

    def make(color_mode="grayscale", **options):
        pack = Pack.open(make_pack(color_mode=color_mode))
        config = resolve({**CLASSIC, **options, "color_mode": color_mode})
        train = split_images(pack, config).train
        ours, theirs = (engine(Setup(config, pack, "cpu", 1, train)) for engine in (NumpyEngine, TorchEngine))
        theirs.load_weights(ours.weights())
        return ours, theirs, train

    return make


def step_both(ours, theirs, positions, *, rate):
    for batch in range(STEPS):
        chosen = positions[batch * 16 : (batch + 1) * 16 - batch]
        for engine in (ours, theirs):
            engine.train(chosen, Step(1, batch, rate))


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": {"name": "sgd", "momentum": 0.0}},
        {"optimizer": {"name": "sgd", "momentum": 0.9}},
        {"optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}},
        {"optimizer": {"name": "adamw", "weight_decay": 0.1}},
        {"optimizer": {"name": "adam", "weight_decay": 0.01}},
        {"l1": 1e-3, "l2": 1e-2, "optimizer": {"name": "sgd"}},
        {"label_smoothing": 0.1, "optimizer": {"name": "sgd"}},
        {"activation": "tanh", "pooling": "avg", "optimizer": {"name": "sgd"}},
        {"activation": "gelu", "optimizer": {"name": "sgd"}},
        {"activation": "silu", "pooling": "avg", "normalize": "unit", "optimizer": {"name": "sgd"}},
        {"color_mode": "rgb", "optimizer": {"name": "sgd"}},
        {"dense": [], "optimizer": {"name": "sgd"}},
    ],
    ids=str,
)
def test_steps_end_where_torchs_do(pair, options):
    ours, theirs, positions = pair(**options)
    before = ours.weights()
    # Adam divides by the size of a gradient, so that the sign of one that is almost nothing decides.
    rate, tolerance = (1e-4, 1e-5) if "adam" in str(options) else (1e-2, 1e-5)
    step_both(ours, theirs, positions, rate=rate)
    (our_loss, our_right), (their_loss, their_right) = ours.read_sums(), theirs.read_sums()
    assert (our_loss, our_right) == (pytest.approx(their_loss, rel=1e-4), their_right)
    mine, other = ours.weights(), theirs.weights()
    assert list(mine) == list(other)
    for name, weight in mine.items():
        np.testing.assert_allclose(weight, other[name], atol=tolerance, err_msg=name)
    assert not np.array_equal(mine["conv1.weight"], before["conv1.weight"])


def test_answers_are_torchs(pair):
    ours, theirs, positions = pair()
    seen = []
    np.testing.assert_allclose(
        ours.compute_logits(positions, seen.append), theirs.compute_logits(positions, lambda _: None), atol=1e-5
    )
    assert sum(seen) == len(positions)
    assert ours.compute_logits(positions[:0], seen.append).shape == (0, 3)


@pytest.mark.parametrize("size", [28, 29, 31, 32, 47, 64])
def test_every_image_size_gives_torchs_answers(size):
    from core.training.nets import build_net

    network = layers(resolve({**CLASSIC, "image_size": size}), classes=4)
    net, generator = Net(network, (1, size, size)), np.random.default_rng(1)
    draw_weights(net.parameters, "default", generator)
    theirs = build_net(network, (1, size, size))
    weights = {name: torch.from_numpy(weight) for name, weight in net.parameters.value_of.items()}
    theirs.load_state_dict(weights, strict=False)
    images = generator.random((size, size, 1, 3), np.float32)
    expected = theirs(torch.from_numpy(images.transpose(3, 2, 0, 1).copy())).detach().numpy()
    np.testing.assert_allclose(net.forward(images).T, expected, atol=1e-5)


def test_the_parameters_are_counted_as_with_torch(pair):
    ours, theirs, _ = pair()
    assert ours.parameters == theirs.parameters


def test_weights_of_another_net_are_refused(pair):
    ours, _, _ = pair()
    with pytest.raises(ValueError, match="not those of this net"):
        ours.load_weights({**ours.weights(), "conv1.weight": np.zeros((6, 1, 3, 3), np.float32)})
    with pytest.raises(ValueError, match="not those of this net"):
        ours.load_weights({"conv1.weight": ours.weights()["conv1.weight"]})


@pytest.mark.parametrize("options", [{"architecture": "lenet5-bn"}, {"architecture": "lenet-deep"}])
def test_a_layer_that_is_not_here_is_refused(options):
    network = layers(resolve(options), classes=4)
    with pytest.raises(TrainingError) as caught:
        Net(network, (1, 32, 32))
    assert caught.value.code == "unsupported_option"
