"""From image files to named answers."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from core.datasets.images import read_array
from core.errors import Fault, InvalidError
from core.inference.predictor import Predictor

# Images of one request are decoded into memory this many at a time.
_IMAGES_AT_ONCE = 256
# More would be noise to a person, and a help to whoever copies a model by asking it.
_DIGITS = 6


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class RankedClass(_Value):
    """A class and its probability, 0–1."""

    class_name: str = Field(alias="class")
    probability: float


class Prediction(_Value):
    """The answer for one image, as the API gives it.

    Attributes:
        filename: As it was sent.
        class_name: The most probable class.
        class_index: Its place in the label index.
        confidence: Its probability, 0–1.
        top: The most probable classes, first the most probable.
    """

    filename: str
    class_name: str = Field(alias="class")
    class_index: int
    confidence: float
    top: tuple[RankedClass, ...]


def predict_images(
    predictor: Predictor, images: Sequence[tuple[str, bytes]], *, top_k: int, max_pixels: int
) -> list[Prediction]:
    """Return a prediction for each of ``images`` (file name and bytes), in their order.

    Args:
        predictor: The model.
        images: Image files of any size and mode; brought to what the model takes as training images were.
        top_k: How many classes to rank; at most as many as there are.
        max_pixels: Most pixels that an image may have.

    Raises:
        InvalidError: ``unreadable_image``: with a fault for each image that cannot be read, ``/image/<index>``.
    """
    faults: list[Fault] = []
    predictions: list[Prediction] = []
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        chunk = images[start : start + _IMAGES_AT_ONCE]
        arrays = _read(predictor, chunk, max_pixels, faults, first=start)
        if not faults:
            answers = predictor.predict(np.stack(arrays))
            predictions += _name(predictor.classes, [filename for filename, _ in chunk], answers, top_k)
    if faults:
        raise InvalidError("Some images cannot be read.", code="unreadable_image", faults=faults)
    return predictions


def _read(
    predictor: Predictor,
    images: Iterable[tuple[str, bytes]],
    max_pixels: int,
    faults: list[Fault],
    *,
    first: int,
) -> list[npt.NDArray[np.uint8]]:
    """Return the images that can be read, and add a fault for each that cannot."""
    about, arrays = predictor.metadata, []
    for index, (filename, data) in enumerate(images, start=first):
        try:
            arrays.append(
                read_array(data, image_size=about.image_size, color_mode=about.color_mode, max_pixels=max_pixels)
            )
        except InvalidError as error:
            faults.append(Fault(f"/image/{index}", f"{filename}: {error.detail}"))
    return arrays


def _name(
    classes: Sequence[str], filenames: Sequence[str], answers: npt.NDArray[np.float32], top_k: int
) -> Iterable[Prediction]:
    order = np.argsort(-answers, axis=1, kind="stable")[:, :top_k]
    rounded = np.round(answers.astype(np.float64), _DIGITS).tolist()
    for filename, ranks, shares in zip(filenames, order.tolist(), rounded, strict=True):
        best: dict[str, Any] = {
            "class_name": classes[ranks[0]],
            "class_index": ranks[0],
            "confidence": shares[ranks[0]],
        }
        top = tuple(RankedClass(class_name=classes[rank], probability=shares[rank]) for rank in ranks)
        yield Prediction(filename=filename, top=top, **best)
