"""The catalogue of architectures: records and the layers that each stands for, without any engine."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.domain.layers import (
    Activation,
    BatchNorm,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LayerSummary,
    Pool,
    Scaling,
    summarize,
)
from core.domain.training_options import ArchitectureName, TrainingConfig

_LECUN = "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition (1998), section II.B"
_IOFFE = "Ioffe, Szegedy: Batch normalization (2015), section 3.2"


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One entry of the catalogue.

    Attributes:
        title: What a person reads in a list.
        source: Where it is described.
        image_size: Side in pixels that it was made for.
        defaults: Options that depend on the architecture, where a config leaves them out.
        maps: The convolutional part, from a config.
    """

    title: str
    source: str
    image_size: int
    defaults: Mapping[str, Any]
    maps: Callable[[TrainingConfig], Iterator[Layer]]


def _lenet_maps(config: TrainingConfig) -> Iterator[Layer]:
    """C1–S4 of LeNet-5: 6 and 16 filters of 5×5, each followed by pooling."""
    for number, filters in enumerate((6, 16), start=1):
        yield from _stage(config, number, filters=filters, kernel=5, padding=0)


def _wide_maps(config: TrainingConfig) -> Iterator[Layer]:
    """32, 64 and 128 filters of 3×3 that keep the image's size, each followed by pooling."""
    for number, filters in enumerate((32, 64, 128), start=1):
        yield from _stage(config, number, filters=filters, kernel=3, padding=1)


def _stage(config: TrainingConfig, number: int, *, filters: int, kernel: int, padding: int) -> Iterator[Layer]:
    # The normalisation's own shift makes the filters' bias void.
    bias = not config.batch_norm
    yield Convolution(name=f"conv{number}", filters=filters, kernel=kernel, padding=padding, bias=bias)
    if config.batch_norm:
        yield BatchNorm(name=f"norm{number}")
    yield Activation(name=f"activation{number}", function=config.activation)
    yield Pool(name=f"pool{number}", method=config.pooling)


_LENET_DEFAULTS = {"dense": (120, 84), "dropout": 0.0}

ARCHITECTURES: Mapping[ArchitectureName, Architecture] = {
    "lenet5": Architecture(
        title="LeNet-5",
        source=_LECUN,
        image_size=32,
        defaults={**_LENET_DEFAULTS, "batch_norm": False},
        maps=_lenet_maps,
    ),
    "lenet5-bn": Architecture(
        title="LeNet-5 with batch normalisation after each convolution",
        source=f"{_LECUN}; {_IOFFE}",
        image_size=32,
        defaults={**_LENET_DEFAULTS, "batch_norm": True},
        maps=_lenet_maps,
    ),
    "lenet-wide": Architecture(
        title="Three wide 3×3 convolutions with batch normalisation",
        source=f"Practice of the published LeNet comparisons; {_IOFFE}",
        image_size=32,
        defaults={"dense": (64,), "dropout": 0.3, "batch_norm": True},
        maps=_wide_maps,
    ),
}


def layers(config: TrainingConfig, *, classes: int) -> tuple[Layer, ...]:
    """Return the layers that ``config`` stands for, from raw pixels (0–255) to ``classes`` logits.

    Args:
        config: A resolved config; its architecture is one of `ARCHITECTURES`.
        classes: Width of the last layer.
    """
    return (
        Scaling(name="scaling"),
        *ARCHITECTURES[config.architecture].maps(config),
        Flatten(name="flatten"),
        *_dense(config),
        Dense(name="classes", units=classes),
    )


def _dense(config: TrainingConfig) -> Iterator[Layer]:
    for number, units in enumerate(config.dense or (), start=1):
        yield Dense(name=f"dense{number}", units=units)
        yield Activation(name=f"dense_activation{number}", function=config.activation)
        if config.dropout:
            yield Dropout(name=f"dropout{number}", rate=config.dropout)


def describe(config: TrainingConfig, *, channels: int, classes: int) -> list[LayerSummary]:
    """Return the table of layers with their shapes and numbers of weights.

    Raises:
        TooSmallError: The image is too small for the architecture.
    """
    shape = (channels, config.image_size, config.image_size)
    return summarize(layers(config, classes=classes), shape)
