"""Images on their way from a request to a model: some files in a form, or a ZIP of them."""

import io
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

from api.bodies import StrictRequest, refuse_media_type, strict_request
from api.multipart import Part, open_form
from api.ports import ports
from core.datasets.limits import ArchiveLimits
from core.datasets.pictures import read_pictures
from core.datasets.zip_archive import LOCAL_SIGNATURE
from core.errors import Fault, InvalidError

Images = Iterator[tuple[str, bytes]]

ZIP_MEDIA_TYPES = ("application/zip", "application/x-zip-compressed")
_BINARY = {"type": "string", "format": "binary"}
_FILES = {"type": "array", "minItems": 1, "items": _BINARY}
_KINDS = "PNG, JPEG, BMP, GIF, WebP or TIFF"
# A ZIP has folders and clutter beside its images.
_ENTRIES_PER_IMAGE = 4


def describe_images() -> dict[str, object]:
    """Return what a request with images sends, for the document."""
    form = {"schema": {"type": "object", "properties": {"image": _FILES, "archive": _BINARY}}}
    return {
        "required": True,
        "description": f"One or many images ({_KINDS}), or a ZIP of them, as the field `archive` or as the body.",
        "content": {"multipart/form-data": form, **{kind: {"schema": _BINARY} for kind in ZIP_MEDIA_TYPES}},
    }


def describe_image() -> dict[str, object]:
    """Return what a request with one image sends, for the document."""
    form = {"schema": {"type": "object", "required": ["image"], "properties": {"image": _BINARY}}}
    return {"required": True, "description": f"One image: {_KINDS}.", "content": {"multipart/form-data": form}}


def read_images() -> Images:
    """Yield the images that the request sends, with their names, as they come.

    Raises:
        MediaTypeError: It sends neither a form nor a ZIP.
        TooLargeError: They are too many, or too large together.
        InvalidError: There is none, or something else.
        DatasetRejectedError: The ZIP's structure is wrong.
    """
    request = strict_request()
    if request.mimetype in ZIP_MEDIA_TYPES:
        return _require(_unpack(_open_body(request)))
    if request.mimetype != "multipart/form-data":
        refuse_media_type("multipart/form-data with files named image, or a ZIP of images")
    return _require(_read_form(request))


def read_image() -> tuple[str, bytes]:
    """Return the one image that the request sends, with its name.

    Raises:
        MediaTypeError: It sends no form.
        TooLargeError: It is too large.
        InvalidError: There is none, there are several, or it is something else.
    """
    request = strict_request()
    if request.mimetype != "multipart/form-data":
        refuse_media_type("multipart/form-data with one file named image")
    form = open_form(request, _open_body(request), most_parts=ports().settings.max_predict_images)
    images = [_take(part, number, remedy="send an image of it") for number, part in enumerate(form.read_parts())]
    if len(images) > 1:
        raise InvalidError("Only one image is taken here.", faults=[Fault("/image", "stands more than once")])
    return next(_require(images))


def _open_body(request: StrictRequest) -> BinaryIO:
    return io.BufferedReader(request.open_body(max_bytes=ports().settings.max_predict_bytes))


def _read_form(request: StrictRequest) -> Images:
    form = open_form(request, _open_body(request), most_parts=ports().settings.max_predict_images)
    parts = form.read_parts()
    for number, part in enumerate(parts):
        if part.name != "archive":
            yield _take(part, number, remedy="send it as the field archive")
            continue
        images = [] if number else _unpack(cast("BinaryIO", part))
        if number or next(parts, None) is not None:
            raise InvalidError("An archive stands alone.", faults=[Fault("/archive", "is not the only field")])
        yield from images


def _take(part: Part, number: int, *, remedy: str) -> tuple[str, bytes]:
    if part.name != "image":
        raise InvalidError("The form has an unknown field.", faults=[Fault(f"/{part.name}", "is not known")])
    name, content = part.filename or f"image-{number}", part.readall()
    if content.startswith(LOCAL_SIGNATURE):
        fault = Fault(f"/image/{number}", f"{name}: is a ZIP; {remedy}")
        raise InvalidError("An archive is no image.", code="unreadable_image", faults=[fault])
    return name, content


def _unpack(source: BinaryIO) -> list[tuple[str, bytes]]:
    """Return the images of a ZIP; unpacked they may take no more than if they had come as they are."""
    settings = ports().settings
    limits = ArchiveLimits(
        entries=_ENTRIES_PER_IMAGE * settings.max_predict_images,
        total_bytes=settings.max_predict_bytes,
        entry_bytes=settings.archive_max_entry_bytes,
        ratio=settings.archive_max_ratio,
    )
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(source, file)
        file.flush()
        return read_pictures(cast("BinaryIO", file), limits=limits, most_pictures=settings.max_predict_images)


def _require(images: Iterable[tuple[str, bytes]]) -> Images:
    rest = iter(images)
    first = next(rest, None)
    if first is None:
        raise InvalidError("There is no image.", faults=[Fault("/image", "is missing")])
    yield first
    yield from rest
