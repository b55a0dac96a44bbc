"""From image files to named answers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from core.domain.datasets import ColorMode
from core.errors import Fault, InvalidError
from core.inference.decoders import Pixels, ReadImages
from core.inference.predictor import Predictor

# Images of one request are decoded into memory this many at a time, and as many again while those are looked at.
_IMAGES_AT_ONCE = 128
# More would be noise to a person, and a help to whoever copies a model by asking it.
_DIGITS = 6

Given = TypeVar("Given")
Made = TypeVar("Made")


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
    predictor: Predictor, images: Sequence[tuple[str, bytes]], *, top_k: int, max_pixels: int, read: ReadImages
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
    images: Sequence[tuple[str, bytes]], forms: Sequence[Form], *, max_pixels: int, read: ReadImages
) -> Iterator[tuple[list[str], dict[Form, Pixels]]]:
    """Yield some images after others: their file names, and their pixels ``(n, size, size, channels)`` in each form.

    The next ones are read meanwhile. After the first image that cannot be read nothing more is yielded, but every one
    is looked at. ``read`` decodes images.

    Raises:
        InvalidError: ``unreadable_image``: with a fault for each image that cannot be read, ``/image/<index>``.
    """
    chunks = [images[start : start + _IMAGES_AT_ONCE] for start in range(0, len(images), _IMAGES_AT_ONCE)]
    faults: list[Fault] = []

    def read_chunk(chunk: Sequence[tuple[str, bytes]]) -> dict[Form, list[Pixels | InvalidError]]:
        files = [data for _, data in chunk]
        return {
            form: list(read(files, image_size=form.image_size, color_mode=form.color_mode, max_pixels=max_pixels))
            for form in forms
        }

    for number, found in enumerate(_map_ahead(read_chunk, chunks)):
        names = [name for name, _ in chunks[number]]
        faults += _list_faults(names, found.values(), first=number * _IMAGES_AT_ONCE)
        if not faults:
            yield names, {form: np.stack(cast("list[Pixels]", arrays)) for form, arrays in found.items()}
    if faults:
        raise InvalidError("Some images cannot be read.", code="unreadable_image", faults=faults)


def _map_ahead(make: Callable[[Given], Made], given: Sequence[Given]) -> Iterator[Made]:
    """Yield what is made of each, the next one in another thread while the last is looked at."""
    if len(given) < 2:
        yield from map(make, given)
        return
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as thread:
        coming = thread.submit(copy_context().run, make, given[0])
        for following in given[1:]:
            made, coming = coming.result(), thread.submit(copy_context().run, make, following)
            yield made
        yield coming.result()


def _list_faults(
    filenames: Sequence[str], found: Iterable[Sequence[Pixels | InvalidError]], *, first: int
) -> Iterator[Fault]:
    """Yield a fault for each image that cannot be read in one of the forms."""
    for index, (filename, *forms) in enumerate(zip(filenames, *found, strict=True), start=first):
        if error := next((one for one in forms if isinstance(one, InvalidError)), None):
            yield Fault(f"/image/{index}", f"{filename}: {error.detail}")


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
