"""What a model sees in an image, as values."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from api.schemas.base import Query, Shape
from core.inference.saliency import Saliency

_DIGITS = 6


class SaliencyQuery(Query):
    """Of which class."""

    class_name: Annotated[
        str | None, Field(alias="class", max_length=255, description="The class to look at; left out: the likeliest.")
    ] = None


class LayerMaps(Shape):
    """The maps of one convolution, after its activation."""

    convolution: Annotated[int, Field(description="1 is the first.")]
    shape: Annotated[list[int], Field(description="Filters, height, width.")]
    maps: Annotated[list[list[list[float]]], Field(description="By filter, row and column.")]


class FeatureMaps(Shape):
    """What each convolution makes of an image, first to last."""

    filename: str
    feature_maps: list[LayerMaps]


class SaliencyMap(Shape):
    """Which parts of an image the probability of a class rests on."""

    filename: str
    class_name: Annotated[str, Field(alias="class")]
    class_index: int
    confidence: Annotated[float, Field(description="Probability of the class for the whole image, 0-1.")]
    patch_size: Annotated[int, Field(description="Side in pixels of the square that covers a part.")]
    stride: Annotated[int, Field(description="By how many pixels it moves.")]
    heat: Annotated[
        list[list[float]],
        Field(description="By row and column of the image as the model takes it: by how much covering lowers it."),
    ]


def shape_feature_maps(filename: str, maps: Sequence[npt.NDArray[np.float32]]) -> FeatureMaps:
    """Return the maps of each convolution, ``(filters, height, width)``, as an answer shows them."""
    layers = [
        LayerMaps(convolution=number, shape=list(layer.shape), maps=layer.astype(np.float64).round(_DIGITS).tolist())
        for number, layer in enumerate(maps, start=1)
    ]
    return FeatureMaps(filename=filename, feature_maps=layers)


def shape_saliency(filename: str, saliency: Saliency, class_name: str) -> SaliencyMap:
    """Return what an answer rests on as an answer shows it."""
    return SaliencyMap(
        filename=filename,
        class_name=class_name,
        class_index=saliency.class_index,
        confidence=round(saliency.confidence, _DIGITS),
        patch_size=saliency.patch_size,
        stride=saliency.stride,
        heat=saliency.heat.round(_DIGITS).tolist(),
    )
