"""The catalogue of architectures: records and the layers that each stands for, without any engine."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.domain.layers import (
    Activation,
    BatchNorm,
    Connections,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    Layer,
    LayerSummary,
    Pool,
    RadialBasis,
    Scaling,
    Subsampling,
    summarize,
)
from core.domain.training_options import ArchitectureName, TrainingConfig

_LECUN = "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition (1998), section II.B"
_IOFFE = "Ioffe, Szegedy: Batch normalization (2015), section 3.2"
_SPRINGENBERG = "Springenberg and others: Striving for simplicity: the all convolutional net (2014), section 2"
_LIN = "Lin, Chen, Yan: Network in network (2013), section 3.2"

# Table I of the paper: the maps of S2 that each map of C3 sees.
_C3: Connections = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One entry of the catalogue.

    Attributes:
        title: What a person reads in a list.
        source: Where it is described.
        image_size: Side in pixels that it was made for.
        defaults: Options that depend on the architecture, where a config leaves them out.
        maps: The convolutional part, from a config.
        has_codes: Whether the answer is the distance from each class's fixed code, not a weighted sum.
        is_whole: Whether its defaults belong to it so much that they stand over those of a preset, or of a job, that
            has another architecture.
    """

    title: str
    source: str
    image_size: int
    defaults: Mapping[str, Any]
    maps: Callable[[TrainingConfig], Iterator[Layer]]
    has_codes: bool = False
    is_whole: bool = False


def _lenet_maps(config: TrainingConfig) -> Iterator[Layer]:
    """C1–S4 of LeNet-5: 6 and 16 filters of 5×5, each followed by pooling."""
    for number, filters in enumerate((6, 16), start=1):
        yield from _convolve(config, number, filters=filters, kernel=5)
        yield from _pool(config, number)


def _paper_maps(config: TrainingConfig) -> Iterator[Layer]:
    """C1–C5 of the paper: C3's filters see some maps only, and C5 is a convolution that leaves one pixel of 32×32."""
    yield from _convolve(config, 1, filters=6, kernel=5)
    yield from _pool(config, 1)
    yield from _convolve(config, 2, filters=16, kernel=5, connections=_C3)
    yield from _pool(config, 2)
    # Its maps are single pixels: a batch of one image has nothing to be normalised by, as in a dense layer.
    yield from _convolve(config, 3, filters=120, kernel=5, normalized=False)


def _wide_maps(config: TrainingConfig) -> Iterator[Layer]:
    """32, 64 and 128 filters of 3×3 that keep the image's size, each followed by pooling."""
    for number, filters in enumerate((32, 64, 128), start=1):
        yield from _convolve(config, number, filters=filters, kernel=3, padding=1)
        yield from _pool(config, number)


def _deep_maps(config: TrainingConfig) -> Iterator[Layer]:
    """A stem of 24 filters of 5×5, then 32, 32, 52 and 56 of 3×3 in pairs; of each last map what is strongest."""
    yield from _convolve(config, 1, filters=24, kernel=5)
    yield from _pool(config, 1)
    for number, filters in ((2, 32), (3, 32)):
        yield from _convolve(config, number, filters=filters, kernel=3, padding=1)
    yield from _pool(config, 2)
    for number, filters in ((4, 52), (5, 56)):
        yield from _convolve(config, number, filters=filters, kernel=3, padding=1)
    yield GlobalPool(name="pool3", method="avg" if config.pooling == "avg" else "max")


def _convolve(
    config: TrainingConfig,
    number: int,
    *,
    filters: int,
    kernel: int,
    padding: int = 0,
    connections: Connections | None = None,
    normalized: bool = True,
) -> Iterator[Layer]:
    normalized = normalized and bool(config.batch_norm)
    yield Convolution(
        name=f"conv{number}",
        filters=filters,
        kernel=kernel,
        padding=padding,
        # The normalisation's own shift makes the filters' bias void.
        bias=not normalized,
        connections=connections,
    )
    if normalized:
        yield BatchNorm(name=f"norm{number}")
    yield Activation(name=f"activation{number}", function=config.activation)


def _pool(config: TrainingConfig, number: int) -> Iterator[Layer]:
    if config.pooling == "subsampling":
        yield Subsampling(name=f"pool{number}")
        yield Activation(name=f"pool_activation{number}", function=config.activation)
    else:
        yield Pool(name=f"pool{number}", method=config.pooling)


# Named by every architecture, so that another architecture over a job's config brings its own.
_MODERN: Mapping[str, Any] = {"activation": "relu", "pooling": "max", "init": "default", "normalize": "dataset"}
_LENET_DEFAULTS: Mapping[str, Any] = {**_MODERN, "dense": (120, 84), "dropout": 0.0}

ARCHITECTURES: Mapping[ArchitectureName, Architecture] = {
    "lenet5": Architecture(
        title="LeNet-5",
        source=_LECUN,
        image_size=32,
        defaults={**_LENET_DEFAULTS, "batch_norm": False},
        maps=_lenet_maps,
    ),
    "lenet5-1998": Architecture(
        title="LeNet-5 as in the paper: sub-sampling, partial connections and an output of distances",
        source=f"{_LECUN} and appendix A",
        image_size=32,
        defaults={
            "activation": "scaled_tanh",
            "pooling": "subsampling",
            "init": "lecun_1998",
            "normalize": "lecun_1998",
            "dense": (84,),
            "dropout": 0.0,
            "batch_norm": False,
        },
        maps=_paper_maps,
        has_codes=True,
        is_whole=True,
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
        defaults={**_MODERN, "dense": (64,), "dropout": 0.3, "batch_norm": True},
        maps=_wide_maps,
    ),
    "lenet-deep": Architecture(
        title="Five convolutions and no hidden dense layer, of LeNet-5's size",
        source=f"{_LECUN}; {_SPRINGENBERG}; {_LIN}; {_IOFFE}",
        image_size=32,
        defaults={**_MODERN, "dense": (), "dropout": 0.0, "batch_norm": True},
        maps=_deep_maps,
    ),
}


def layers(config: TrainingConfig, *, classes: int) -> tuple[Layer, ...]:
    """Return the layers that ``config`` stands for, from raw pixels (0–255) to ``classes`` logits.

    Args:
        config: A resolved config; its architecture is one of `ARCHITECTURES`.
        classes: Width of the last layer.
    """
    architecture = ARCHITECTURES[config.architecture]
    return (
        Scaling(name="scaling"),
        *architecture.maps(config),
        Flatten(name="flatten"),
        *_dense(config),
        (RadialBasis if architecture.has_codes else Dense)(name="classes", units=classes),
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
