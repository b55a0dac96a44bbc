"""From image files to named answers."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import chain, islice
from typing import NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from core.domain.datasets import ColorMode
from core.errors import Fault, InvalidError
from core.inference.decoders import Pixels, ReadImages
from core.inference.predictor import Predictor

# So many images of one request are decoded and looked at together; so many of these chunks are in memory beside the
# one that is waited for, in so many threads.
_IMAGES_AT_ONCE = 128
_CHUNKS_AHEAD = 3
_THREADS = 2
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


_PREDICTIONS = TypeAdapter(list[Prediction])


def predict_images(
    predictor: Predictor, images: Iterable[tuple[str, bytes]], *, top_k: int, max_pixels: int, read: ReadImages
) -> list[Prediction]:
    """Return a prediction for each of ``images`` (file name and bytes), in their order.

    Args:
        predictor: The model.
        images: Image files of any size and mode; brought to what the model takes as training images were. While the
            first are predicted, the next are taken.
        top_k: How many classes to rank; at most as many as there are.
        max_pixels: Most pixels that an image may have.
        read: Decodes an image; whoever reads images of strangers has `core.inference.decoders` do it elsewhere.

    Raises:
        InvalidError: ``unreadable_image``: with a fault for each image that cannot be read, ``/image/<index>``.
    """
    about, predictions = predictor.metadata, list[Prediction]()
    form = Form(about.image_size, about.color_mode)
    found = map_images(lambda pixels: predictor.predict(pixels[form]), images, [form], max_pixels=max_pixels, read=read)
    for filenames, answers in found:
        predictions += _name(predictor.classes, filenames, answers, top_k)
    return predictions


def map_images(
    look: Callable[[dict[Form, Pixels]], Made],
    images: Iterable[tuple[str, bytes]],
    forms: Sequence[Form],
    *,
    max_pixels: int,
    read: ReadImages,
) -> Iterator[tuple[list[str], Made]]:
    """Yield for some images after others their file names, and what ``look`` makes of their pixels.

    It is given them as ``(n, size, size, channels)`` in each form, in several threads at once. After the first image
    that cannot be read nothing more is yielded, but every one is read. ``read`` decodes images.

    Raises:
        InvalidError: ``unreadable_image``: with a fault for each image that cannot be read, ``/image/<index>``.
    """
    faults: list[Fault] = []

    def work(numbered: tuple[int, Sequence[tuple[str, bytes]]]) -> tuple[list[str], list[Fault], Made | None]:
        number, chunk = numbered
        filenames, files = [name for name, _ in chunk], [data for _, data in chunk]
        found = {
            form: list(read(files, image_size=form.image_size, color_mode=form.color_mode, max_pixels=max_pixels))
            for form in forms
        }
        if unreadable := list(_list_faults(filenames, found.values(), first=number * _IMAGES_AT_ONCE)):
            return filenames, unreadable, None
        return filenames, [], look({form: np.stack(cast("list[Pixels]", arrays)) for form, arrays in found.items()})

    for filenames, unreadable, made in _map_ahead(work, enumerate(_chunk(images))):
        faults += unreadable
        if not faults:
            yield filenames, cast("Made", made)
    if faults:
        raise InvalidError("Some images cannot be read.", code="unreadable_image", faults=faults)


def _chunk(images: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    rest = iter(images)
    while chunk := list(islice(rest, _IMAGES_AT_ONCE)):
        yield chunk


def _map_ahead(make: Callable[[Given], Made], given: Iterable[Given]) -> Iterator[Made]:
    """Yield what is made of each in turn, in other threads where there are several; some are taken ahead."""
    rest = iter(given)
    first = list(islice(rest, 2))
    if len(first) < 2:
        yield from map(make, first)
        return
    threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="ahead")
    coming: deque[Future[Made]] = deque()
    try:
        for one in chain(first, rest):
            coming.append(threads.submit(copy_context().run, make, one))
            if len(coming) > _CHUNKS_AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


def _list_faults(
    filenames: Sequence[str], found: Iterable[Sequence[Pixels | InvalidError]], *, first: int
) -> Iterator[Fault]:
    """Yield a fault for each image that cannot be read in one of the forms."""
    for index, (filename, *forms) in enumerate(zip(filenames, *found, strict=True), start=first):
        if error := next((one for one in forms if isinstance(one, InvalidError)), None):
            yield Fault(f"/image/{index}", f"{filename}: {error.detail}")


def round_shares(shares: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return shares, 0–1, as answers give them."""
    return shares.astype(np.float64).round(_DIGITS)


def _name(
    classes: Sequence[str], filenames: Sequence[str], answers: npt.NDArray[np.float32], top_k: int
) -> list[Prediction]:
    order = np.argsort(-answers, axis=1, kind="stable")[:, :top_k].tolist()
    rounded = round_shares(answers).tolist()
    # One by one, making them would take longer than predicting.
    return _PREDICTIONS.validate_python(
        [
            {
                "filename": filename,
                "class_name": classes[ranks[0]],
                "class_index": ranks[0],
                "confidence": shares[ranks[0]],
                "top": [{"class_name": classes[rank], "probability": shares[rank]} for rank in ranks],
            }
            for filename, ranks, shares in zip(filenames, order, rounded, strict=True)
        ]
    )
