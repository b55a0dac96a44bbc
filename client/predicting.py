"""Images on their way to a model, and its file on its way here, whatever the model is known by."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from client.answers import POLL_SECONDS, parse_items
from client.errors import ConflictError, InputError
from client.files import replacing
from client.transport import Call, OnProgress, Params, Part, Transport
from client.types import Prediction

PREDICT_TIMEOUT_SECONDS = 120.0
IMAGES_OF_ONE_REQUEST = 100
# Half of what the platform takes at its defaults.
BYTES_OF_ONE_REQUEST = 32 * 2**20
MODEL = "model.onnx"
FILE_ATTEMPTS = 120

P = TypeVar("P", bound=Prediction)


def predict(
    transport: Transport, url: str, paths: Sequence[str | Path], *, top_k: int | None, kind: type[P]
) -> list[P]:
    """Return what a model takes images for, in the order given.

    Args:
        transport: What carries the requests.
        url: The model's path, as ``/jobs/job_1``.
        paths: Image files, and ZIPs of images, whose images stand in the answer in place of the ZIP.
        top_k: How many classes of each; ``None``: the platform's default.
        kind: What an answer is.

    Raises:
        InputError: A file cannot be read.
        InvalidRequestError: A file is not an image; the error names it.
    """
    return [
        prediction
        for parts in _group(paths)
        for prediction in parse_items(
            kind, transport.fetch(_call(url, "predict", parts, params={"top_k": top_k})), key="predictions"
        )
    ]


def look(transport: Transport, url: str, action: str, path: str | Path, *, params: Params | None = None) -> Any:
    """Return as values what a model's ``feature-maps`` or ``saliency`` gives of one image; raises as `predict`."""
    call = _call(url, action, [_part("image", Path(path))], params=params or {})
    return transport.fetch(replace(call, accept="application/json"))


def draw(transport: Transport, url: str, action: str, path: str | Path, *, params: Params | None = None) -> bytes:
    """Return the same as a PNG."""
    call = _call(url, action, [_part("image", Path(path))], params=params or {})
    return transport.fetch_bytes(replace(call, accept="image/png"))


def download_model(transport: Transport, url: str, path: str | Path, *, on_progress: OnProgress | None) -> Path:
    """Download a model's ONNX file to a file or into a folder and return where it is; it is there whole or not at all.

    An ensemble's is made within seconds after the ensemble; it is waited for.

    Raises:
        ConflictError: There is no model yet, or its file was not made in a minute.
        DamagedDownloadError: What came is not what is stored.
        InputError: The file cannot be written.
    """
    target = Path(path) / MODEL if Path(path).is_dir() else Path(path)
    for _ in range(FILE_ATTEMPTS):
        try:
            return _download(transport, url, target, on_progress)
        except ConflictError as error:
            if error.code != "ensemble_file_not_ready":
                raise
            transport.sleep(POLL_SECONDS)
    return _download(transport, url, target, on_progress)


def _download(transport: Transport, url: str, target: Path, on_progress: OnProgress | None) -> Path:
    with replacing(target) as file:
        transport.download(f"{url}/artifacts/{MODEL}", file, on_progress=on_progress)
    return target


def _group(paths: Sequence[str | Path]) -> Iterator[list[Part]]:
    """Yield the parts of each request: some images at a time, a ZIP by itself."""
    images: list[Part] = []
    for path in map(Path, paths):
        is_zip = path.suffix.lower() == ".zip"
        part = _part("archive" if is_zip else "image", path)
        if images and (is_zip or not _fits(images, part)):
            yield images
            images = []
        if is_zip:
            yield [part]
        else:
            images.append(part)
    if images:
        yield images


def _fits(images: Sequence[Part], part: Part) -> bool:
    size_bytes = sum(len(one.content) for one in (*images, part) if isinstance(one.content, bytes))
    return len(images) < IMAGES_OF_ONE_REQUEST and size_bytes <= BYTES_OF_ONE_REQUEST


def _call(url: str, action: str, parts: Sequence[Part], *, params: Params) -> Call:
    return Call("POST", f"{url}/{action}", params=params, parts=parts, timeout_seconds=PREDICT_TIMEOUT_SECONDS)


def _part(field: str, path: Path) -> Part:
    try:
        return Part(field, path.name, path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
