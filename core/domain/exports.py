"""The contract of an exported model: names of its input, outputs and metadata, for who writes it and who reads it."""

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from core.domain.datasets import ColorMode
from core.errors import IntegrityError

# uint8 pixels (batch, height, width, channels), 0–255, of 1 or 3 channels; everything after that is inside the graph.
# Files from before ADR 30 take only as many channels as their network.
INPUT = "image"
LOGITS = "logits"
PROBABILITIES = "probabilities"
FEATURE_MAPS = "feature_maps_"
_KEY = "lenet"

TEST_PREDICTIONS = "test_predictions.npz"
"""A NumPy archive of a model's answers to the test split, so that votes can be measured without the images.

``probabilities`` float32 ``(n, classes)``, ``labels`` int32 ``(n,)``, ``images``: a digest of the paths and labels,
equal where the test images are the same in the same order.
"""


class ModelMetadata(BaseModel):
    """What a model says of itself.

    Attributes:
        classes: Class names in the order of the logits.
        image_size: Side in pixels that images are brought to.
        color_mode: What images are converted to.
        architecture: Its name in the catalogue.
        layers: The network, as `core.domain.networks` describes it.
        provenance: What it was made with: versions, seed, the data's fingerprint.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    classes: tuple[str, ...]
    image_size: int
    color_mode: ColorMode
    architecture: str
    layers: list[dict[str, Any]] = []
    provenance: dict[str, str] = {}

    @property
    def channels(self) -> int:
        """Return 1 for gray images, 3 for coloured ones."""
        return 3 if self.color_mode == "rgb" else 1

    def properties(self) -> dict[str, str]:
        """Return it as an exported file keeps it."""
        return {_KEY: self.model_dump_json(), "classes": json.dumps(self.classes, ensure_ascii=False)}

    @classmethod
    def parse(cls, properties: Mapping[str, str]) -> Self:
        """Read it back.

        Raises:
            IntegrityError: The file was not exported by this platform.
        """
        try:
            return cls.model_validate_json(properties[_KEY])
        except (KeyError, ValidationError) as error:
            raise IntegrityError("The model has no metadata of this platform.") from error
