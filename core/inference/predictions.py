"""From image files to named answers."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from core.domain.datasets import ColorMode
from core.errors import Fault, InvalidError
from core.inference.decoders import ReadImage
from core.inference.predictor import Predictor

# Images of one request are decoded into memory this many at a time.
_IMAGES_AT_ONCE = 256
# More would be noise to a person, and a help to whoever copies a model by asking it.
_DIGITS = 6


class Form(NamedTuple):
    """What a model takes images as: side in pixels and colour mode."""

    image_size: int
    color_mode: ColorMode


class Value(BaseModel):
    """The base of answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class RankedClass(Value):
    """A class and its probability, 0–1."""

    class_name: str = Field(alias="class")
    probability: float


class Prediction(Value):
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
    predictor: Predictor, images: Sequence[tuple[str, bytes]], *, top_k: int, max_pixels: int, read: ReadImage
) -> list[Prediction]:
    """Return a prediction for each of ``images`` (file name and bytes), in their order.

    Args:
        predictor: The model.
        images: Image files of any size and mode; brought to what the model takes as training images were.
        top_k: How many classes to rank; at most as many as there are.
        max_pixels: Most pixels that an image may have.
        read: Decodes an image; whoever reads images of strangers has `core.inference.decoders` do it elsewhere.

    Raises:
        InvalidError: ``unreadable_image``: with a fault for each image that cannot be read, ``/image/<index>``.
    """
    about, predictions = predictor.metadata, list[Prediction]()
    form = Form(about.image_size, about.color_mode)
    for filenames, pixels in read_chunks(images, [form], max_pixels=max_pixels, read=read):
        predictions += _name(predictor.classes, filenames, predictor.predict(pixels[form]), top_k)
    return predictions


def read_chunks(
    images: Sequence[tuple[str, bytes]], forms: Sequence[Form], *, max_pixels: int, read: ReadImage
) -> Iterator[tuple[list[str], dict[Form, npt.NDArray[np.uint8]]]]:
    """Yield some images after others: their file names, and their pixels ``(n, size, size, channels)`` in each form.

    After the first image that cannot be read nothing more is yielded, but every one is looked at. ``read`` decodes an
    image.

    Raises:
        InvalidError: ``unreadable_image``: with a fault for each image that cannot be read, ``/image/<index>``.
    """
    faults: list[Fault] = []
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        chunk = images[start : start + _IMAGES_AT_ONCE]
        arrays = {form: _read(form, chunk, max_pixels, first=start, read=read) for form in forms}
        faults += next(iter(arrays.values()))[1]
        if not faults:
            yield [name for name, _ in chunk], {form: np.stack(found) for form, (found, _) in arrays.items()}
    if faults:
        raise InvalidError("Some images cannot be read.", code="unreadable_image", faults=faults)


def _read(
    form: Form, images: Iterable[tuple[str, bytes]], max_pixels: int, *, first: int, read: ReadImage
) -> tuple[list[npt.NDArray[np.uint8]], list[Fault]]:
    """Return the images that can be read, and a fault for each that cannot."""
    arrays, faults = [], []
    for index, (filename, data) in enumerate(images, start=first):
        try:
            arrays.append(read(data, image_size=form.image_size, color_mode=form.color_mode, max_pixels=max_pixels))
        except InvalidError as error:
            faults.append(Fault(f"/image/{index}", f"{filename}: {error.detail}"))
    return arrays, faults


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
