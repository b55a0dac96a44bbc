import pytest

from core.domain.architectures import ARCHITECTURES, describe, layers
from core.domain.layers import (
    Activation,
    Convolution,
    Dense,
    Dropout,
    GlobalPool,
    Pool,
    RadialBasis,
    TooSmallError,
    input_shapes,
    summarize,
)
from core.domain.training_config import resolve


@pytest.mark.parametrize(
    ("options", "channels", "weights"),
    [
        # The classic count: 156 + 2,416 + 48,120 + 10,164 + 850.
        ({"architecture": "lenet5"}, 1, 61_706),
        ({"architecture": "lenet5"}, 3, 62_006),
        ({"architecture": "lenet5-bn"}, 1, 61_728),
        ({"architecture": "lenet5", "image_size": 28}, 1, 44_426),
        # "60,000 trainable free parameters", says the paper.
        ({"architecture": "lenet5-1998"}, 1, 60_000),
        ({"architecture": "lenet5", "pooling": "subsampling"}, 1, 61_706 + 2 * 6 + 2 * 16),
        ({"architecture": "lenet-wide"}, 1, 288 + 64 + 18_432 + 128 + 73_728 + 256 + 2048 * 64 + 64 + 650),
    ],
)
def test_the_table_counts_the_weights(options, channels, weights):
    rows = describe(resolve(options), channels=channels, classes=10)
    assert sum(row.weights for row in rows) == weights


def test_the_table_follows_the_image_through_the_layers():
    rows = describe(resolve({"architecture": "lenet5"}), channels=3, classes=4)
    assert [(row.name, row.kind, row.output_shape) for row in rows if row.weights or row.kind == "pool"] == [
        ("conv1", "convolution", (6, 28, 28)),
        ("pool1", "pool", (6, 14, 14)),
        ("conv2", "convolution", (16, 10, 10)),
        ("pool2", "pool", (16, 5, 5)),
        ("dense1", "dense", (120,)),
        ("dense2", "dense", (84,)),
        ("classes", "dense", (4,)),
    ]


def test_the_papers_layers_have_the_weights_that_it_counts():
    rows = describe(resolve({"architecture": "lenet5-1998"}), channels=1, classes=10)
    names = {"conv1": "C1", "pool1": "S2", "conv2": "C3", "pool2": "S4", "conv3": "C5", "dense1": "F6"}
    counted = {names[row.name]: (row.output_shape, row.weights) for row in rows if row.weights}
    assert counted == {
        "C1": ((6, 28, 28), 156),
        "S2": ((6, 14, 14), 12),
        "C3": ((16, 10, 10), 1_516),
        "S4": ((16, 5, 5), 32),
        "C5": ((120, 1, 1), 48_120),
        "F6": ((84,), 10_164),
    }


def test_the_papers_third_layer_sees_maps_by_its_table():
    (layer,) = [one for one in layers(resolve({"architecture": "lenet5-1998"}), classes=10) if one.name == "conv2"]
    assert [len(seen) for seen in layer.connections] == [3] * 6 + [4] * 9 + [6]
    assert len(set(layer.connections)) == 16
    # "The first six C3 maps take inputs from every contiguous subset of three maps", round the end.
    assert {frozenset(seen) for seen in layer.connections[:6]} == {
        frozenset((first + step) % 6 for step in range(3)) for first in range(6)
    }
    assert all(seen == tuple(sorted(seen)) for seen in layer.connections)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_deep_net_has_at_most_62000_weights(channels):
    rows = describe(resolve({"architecture": "lenet-deep"}), channels=channels, classes=10)
    assert sum(row.weights for row in rows) <= 62_000


def test_the_papers_net_takes_no_image_below_32_pixels():
    with pytest.raises(TooSmallError, match="conv3"):
        describe(resolve({"architecture": "lenet5-1998", "image_size": 31}), channels=1, classes=10)


def test_the_default_has_at_most_62000_weights():
    assert sum(row.weights for row in describe(resolve({}), channels=1, classes=10)) <= 62_000


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_options_change_the_layers_of_every_architecture(architecture):
    options = {"activation": "tanh", "pooling": "avg", "dense": [30, 20], "dropout": 0.4}
    network = layers(resolve({"architecture": architecture, **options}), classes=5)
    assert {layer.function for layer in network if isinstance(layer, Activation)} == {"tanh"}
    assert {layer.method for layer in network if isinstance(layer, Pool | GlobalPool)} == {"avg"}
    assert [layer.units for layer in network if isinstance(layer, Dense | RadialBasis)] == [30, 20, 5]
    assert [layer.rate for layer in network if isinstance(layer, Dropout)] == [0.4, 0.4]


def test_an_image_that_is_too_small_is_named_with_the_layer():
    with pytest.raises(TooSmallError, match="conv2"):
        describe(resolve({}).model_copy(update={"image_size": 10}), channels=1, classes=2)


def test_a_rest_at_the_border_is_left_out_by_pooling():
    assert input_shapes([Pool(name="pool", method="max")], (2, 7, 5))[-1] == (2, 3, 2)


def test_padding_keeps_the_side():
    (row,) = summarize([Convolution(name="conv", filters=4, kernel=3, padding=1)], (2, 9, 9))
    assert (row.output_shape, row.weights) == ((4, 9, 9), 4 * (2 * 9 + 1))
