import pytest

from core.domain.architectures import ARCHITECTURES, describe, layers
from core.domain.layers import Activation, Convolution, Dense, Dropout, Pool, TooSmallError, input_shapes, summarize
from core.domain.training_config import resolve


@pytest.mark.parametrize(
    ("options", "channels", "weights"),
    [
        # The classic count: 156 + 2,416 + 48,120 + 10,164 + 850.
        ({"architecture": "lenet5"}, 1, 61_706),
        ({"architecture": "lenet5"}, 3, 62_006),
        ({"architecture": "lenet5-bn"}, 1, 61_728),
        ({"architecture": "lenet5", "image_size": 28}, 1, 44_426),
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


def test_the_default_has_at_most_62000_weights():
    assert sum(row.weights for row in describe(resolve({}), channels=1, classes=10)) <= 62_000


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_options_change_the_layers_of_every_architecture(architecture):
    options = {"activation": "tanh", "pooling": "avg", "dense": [30, 20], "dropout": 0.4}
    network = layers(resolve({"architecture": architecture, **options}), classes=5)
    assert {layer.function for layer in network if isinstance(layer, Activation)} == {"tanh"}
    assert {layer.method for layer in network if isinstance(layer, Pool)} == {"avg"}
    assert [layer.units for layer in network if isinstance(layer, Dense)] == [30, 20, 5]
    assert [layer.rate for layer in network if isinstance(layer, Dropout)] == [0.4, 0.4]


def test_an_image_that_is_too_small_is_named_with_the_layer():
    with pytest.raises(TooSmallError, match="conv2"):
        describe(resolve({}).model_copy(update={"image_size": 10}), channels=1, classes=2)


def test_a_rest_at_the_border_is_left_out_by_pooling():
    assert input_shapes([Pool(name="pool", method="max")], (2, 7, 5))[-1] == (2, 3, 2)


def test_padding_keeps_the_side():
    (row,) = summarize([Convolution(name="conv", filters=4, kernel=3, padding=1)], (2, 9, 9))
    assert (row.output_shape, row.weights) == ((4, 9, 9), 4 * (2 * 9 + 1))
