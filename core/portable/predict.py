"""Predicts the classes of image files with a trained model: ``python predict.py [--json] FILE_OR_FOLDER…``.

It needs Python 3.11 or newer, NumPy and Pillow, nothing else. The model is ``model.npz`` beside this file, which names
its layers: they are computed one after the other, in single precision. Images are brought to the model's form as they
were for its training: turned upright as their EXIF block says, laid over white where they are transparent, made gray
or coloured as the model wants it, and resized.

From Python::

    from predict import Model, read_image

    model = Model.open("model.npz")
    model.probabilities(read_image("picture.jpg", model)[None])
"""

import argparse
import json
import math
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

Array = npt.NDArray[Any]
Layer = Mapping[str, Any]

METADATA = "metadata"
"""Name in ``model.npz`` of what the model says of itself: JSON in UTF-8, as bytes."""
LEAKY_SLOPE = 0.01
TANH_HEIGHT, TANH_SLOPE = 1.7159, 2 / 3
NORM_EPSILON = 1e-5

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"}
)
MAX_PIXELS, MAX_SIDE = 40_000_000, 65_535
IMAGES_AT_ONCE = 256
# Maps are computed for so many images at once that they stay in the processor's cache.
_PIXELS_AT_ONCE = 2**15


class Model:
    """A trained network.

    Attributes:
        about: What the model says of itself: classes, image size, colour mode, architecture, provenance.
        classes: Class names in the order of the answers.
        image_size: Side of the images that it takes, in pixels.
        color_mode: ``grayscale`` (1 channel) or ``rgb`` (3 channels).
    """

    def __init__(self, about: Mapping[str, Any], weights: Mapping[str, Array]) -> None:
        self.about = about
        self.classes: tuple[str, ...] = tuple(about["classes"])
        self.image_size: int = about["image_size"]
        self.color_mode: str = about["color_mode"]
        self._layers: list[Layer] = list(about["layers"])
        self._weights = weights

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Load ``model.npz``; raise `ValueError` where the file is none."""
        try:
            with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
            return cls(json.loads(content.pop(METADATA).tobytes()), content)
        except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a model") from error

    def probabilities(self, images: Array) -> Array:
        """Return float64 ``(images, classes)`` for uint8 ``(images, size, size, channels)``."""
        logits = self.logits(images).astype(np.float64)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: Array = shares / shares.sum(axis=1, keepdims=True)
        return probabilities

    def logits(self, images: Array) -> Array:
        """Return float32 ``(images, classes)`` for uint8 ``(images, size, size, channels)``."""
        size = max(1, _PIXELS_AT_ONCE // self.image_size**2)
        parts = [self._compute(images[start : start + size])[0] for start in range(0, len(images), size)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.classes)), np.float32)

    def feature_maps(self, images: Array) -> list[Array]:
        """Return for each convolution its maps after the activation, float32 ``(images, filters, height, width)``."""
        return self._compute(images)[1]

    def first_filters(self) -> tuple[Array, str]:
        """Return the first convolution's filters ``(filters, channels, kernel, kernel)`` and its name."""
        name = next(layer["name"] for layer in self._layers if layer["kind"] == "convolution")
        return self._weights[f"{name}.weight"], name

    def _compute(self, images: Array) -> tuple[Array, list[Array]]:
        # Channels first and images next: every row of a map is one piece of memory, and a filter one row of a matrix.
        values = np.ascontiguousarray(images.transpose(3, 0, 1, 2)).astype(np.float32)
        maps, sees = [], False
        for layer in self._layers:
            kind = layer["kind"]
            values = _LAYERS[kind](values, layer, self._own(layer["name"]))
            sees = kind == "convolution" or (sees and kind in ("batchnorm", "activation"))
            if sees and kind == "activation":
                maps.append(values.transpose(1, 0, 2, 3))
        return values.astype(np.float32, copy=False), maps

    def _own(self, layer: str) -> dict[str, Array]:
        start = f"{layer}."
        return {name[len(start) :]: array for name, array in self._weights.items() if name.startswith(start)}


def _scale(values: Array, _: Layer, own: Mapping[str, Array]) -> Array:
    scale, shift = (own[name].reshape(-1, 1, 1, 1) for name in ("scale", "shift"))
    return values * scale + shift


def _convolve(values: Array, layer: Layer, own: Mapping[str, Array]) -> Array:
    """Filter ``(maps, images, height, width)``, as one product of the filters with every patch."""
    kernel, padding = layer["kernel"], layer["padding"]
    if padding:
        values = np.pad(values, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    maps, images, height, width = values.shape
    rows, columns = height - kernel + 1, width - kernel + 1
    filters = _spread(own["weight"], layer["connections"], maps)
    patches = np.empty((maps, kernel, kernel, images, rows, columns), values.dtype)
    for down in range(kernel):
        for right in range(kernel):
            patches[:, down, right] = values[:, :, down : down + rows, right : right + columns]
    given = filters.reshape(len(filters), -1) @ patches.reshape(maps * kernel * kernel, -1)
    if "bias" in own:
        given += own["bias"][:, None]
    return given.reshape(len(filters), images, rows, columns)


def _spread(weight: Array, connections: Sequence[Sequence[int]] | None, maps: int) -> Array:
    """Return filters ``(filters, maps, kernel, kernel)``, zero where a filter does not see a map."""
    if connections is None:
        return weight
    spread = np.zeros((len(connections), maps, *weight.shape[1:]), weight.dtype)
    places = [(number, seen) for number, all_seen in enumerate(connections) for seen in all_seen]
    spread[tuple(np.transpose(places))] = weight
    return spread


def _normalize(values: Array, _: Layer, own: Mapping[str, Array]) -> Array:
    scale = own["weight"] / np.sqrt(own["running_var"] + NORM_EPSILON)
    shift = own["bias"] - own["running_mean"] * scale
    given: Array = values * scale.reshape(-1, 1, 1, 1) + shift.reshape(-1, 1, 1, 1)
    return given


def _activate(values: Array, layer: Layer, _: Mapping[str, Array]) -> Array:
    return _FUNCTIONS[layer["function"]](values)


def _pool(values: Array, layer: Layer, _: Mapping[str, Array]) -> Array:
    corners = _corners(values, layer["size"])
    if layer["method"] == "max":
        return _gather(np.maximum, corners)
    return _gather(np.add, corners) / np.float32(layer["size"] ** 2)


def _subsample(values: Array, layer: Layer, own: Mapping[str, Array]) -> Array:
    weight, bias = (own[name].reshape(-1, 1, 1, 1) for name in ("weight", "bias"))
    return _gather(np.add, _corners(values, layer["size"])) * weight + bias


def _corners(values: Array, size: int) -> list[Array]:
    """Return for each place in a square of ``size`` pixels what stands there in every square; a rest is left out."""
    rows, columns = values.shape[2] // size * size, values.shape[3] // size * size
    return [values[:, :, down:rows:size, right:columns:size] for down in range(size) for right in range(size)]


def _gather(combine: Callable[..., Array], parts: Sequence[Array]) -> Array:
    given = parts[0].copy()
    for part in parts[1:]:
        combine(given, part, out=given)
    return given


def _pool_whole(values: Array, layer: Layer, _: Mapping[str, Array]) -> Array:
    pooled: Array = (np.max if layer["method"] == "max" else np.mean)(values, axis=(2, 3), keepdims=True)
    return pooled


def _flatten(values: Array, _: Layer, __: Mapping[str, Array]) -> Array:
    return values.transpose(1, 0, 2, 3).reshape(values.shape[1], -1)


def _multiply(values: Array, _: Layer, own: Mapping[str, Array]) -> Array:
    given: Array = values @ own["weight"].T + own["bias"]
    return given


def _pass_on(values: Array, _: Layer, __: Mapping[str, Array]) -> Array:
    return values


def _measure_distances(values: Array, _: Layer, own: Mapping[str, Array]) -> Array:
    """Return minus the squared distances from the codes; twice as exactly, for they are differences of large sums."""
    exact, codes = values.astype(np.float64), own["codes"].astype(np.float64)
    distances = np.square(exact).sum(axis=1, keepdims=True) - 2 * exact @ codes.T + np.square(codes).sum(axis=1)
    answers: Array = (-distances).astype(np.float32)
    return answers


def _sigmoid(x: Array) -> Array:
    """Return ``1 / (1 + exp(-x))``, by the hyperbolic tangent, which does not overflow."""
    shares: Array = np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1))
    return shares


def _gelu(x: Array) -> Array:
    """Return ``x · Φ(x)``, with Φ by Abramowitz, Stegun (1964), 7.1.26, whose error is 8e-8 at most."""
    t = 1 / (1 + 0.3275911 / math.sqrt(2) * np.abs(x))
    polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    beyond = polynomial * np.exp(-x * x / 2) / 2
    return (x * np.where(x < 0, beyond, 1 - beyond)).astype(x.dtype)


_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "leaky_relu": lambda x: np.maximum(x, np.float32(LEAKY_SLOPE) * x),
    "silu": lambda x: x * _sigmoid(x),
    "gelu": _gelu,
    "scaled_tanh": lambda x: np.float32(TANH_HEIGHT) * np.tanh(np.float32(TANH_SLOPE) * x),
}
_LAYERS: dict[str, Callable[[Array, Layer, Mapping[str, Array]], Array]] = {
    "scaling": _scale,
    "convolution": _convolve,
    "batchnorm": _normalize,
    "activation": _activate,
    "pool": _pool,
    "subsampling": _subsample,
    "globalpool": _pool_whole,
    "flatten": _flatten,
    "dense": _multiply,
    "dropout": _pass_on,
    "radialbasis": _measure_distances,
}

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# All that Pillow's readers are known to raise on broken files.
_DECODER_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, AttributeError, ArithmeticError, LookupError, EOFError),
    *(RuntimeError, Warning, MemoryError, struct.error, zlib.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)


def read_image(source: str | Path | bytes, model: Model) -> Array:
    """Return an image file, or its bytes, in the model's form: uint8 ``(size, size, channels)``.

    Raises:
        ValueError: It cannot be read, is no image of a known format or has too many pixels.
    """
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
                raise ValueError("it has too many pixels")
            return _fit(_decode(image, model.image_size), model)
    except _DECODER_ERRORS as error:
        raise ValueError(_say(error)) from error


def _say(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "it has too many pixels" if "pixels" in str(error) else "it is no image, or is cut short or damaged"


def _decode(image: Any, side: int) -> Any:
    """Return the first frame upright, as ``L`` or ``RGB``."""
    if image.format in ("JPEG", "MPO") and min(image.size) >= 8 * side:
        image.draft(None, (4 * side, 4 * side))
    image.load()
    turn = _find_turn(image)
    return _simplify(image.transpose(turn) if turn is not None else image)


def _find_turn(image: Any) -> Image.Transpose | None:
    """Return what turns the image upright. Pillow itself turns a TIFF; a broken EXIF block means no turn."""
    if image.format == "TIFF":
        return None
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DECODER_ERRORS:
        return None


def _simplify(image: Any) -> Any:
    mode, is_transparent = image.mode, "transparency" in image.info
    if mode in ("L", "RGB") and not is_transparent:
        return image
    if mode in ("1", "L", "LA", "La"):
        return _lay_over_white(image.convert("LA"), "L") if is_transparent or mode[-1] in "Aa" else image.convert("L")
    if mode in ("I", "F") or mode.startswith("I;16"):
        return _scale_to_bytes(image)
    if is_transparent or mode in ("RGBA", "RGBa", "PA"):
        plain = _lay_over_white(image.convert("RGBA"), "RGB")
    else:
        plain = image.convert("RGB")
    return _drop_equal_channels(plain) if mode in ("P", "PA") else plain


def _lay_over_white(image: Any, mode: str) -> Any:
    background = Image.new(mode, image.size, "white")
    background.paste(image.convert(mode), mask=image.getchannel("A"))
    return background


def _scale_to_bytes(image: Any) -> Any:
    values = np.asarray(image)
    if image.mode == "F":
        values = np.nan_to_num(values) * 65_535
    levels = np.clip(values, 0, 65_535)
    return Image.fromarray(((levels.astype(np.uint32) * 255 + 32_767) // 65_535).astype(np.uint8))


def _drop_equal_channels(image: Any) -> Any:
    red, green, blue = image.split()
    return red if red.tobytes() == green.tobytes() == blue.tobytes() else image


def _fit(image: Any, model: Model) -> Array:
    size = (model.image_size, model.image_size)
    image = image.convert("L") if model.color_mode == "grayscale" else image
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image if model.color_mode == "grayscale" else image.convert("RGB"))
    return pixels.reshape(*size, -1)


def list_files(given: Iterable[Path]) -> Iterator[Path]:
    """Yield each file as it was given, and of a folder every image file below it, in the order of their names."""
    for path in given:
        if path.is_dir():
            yield from (
                file for file in sorted(path.rglob("*")) if _is_picture(file.relative_to(path)) and file.is_file()
            )
        else:
            yield path


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(part.startswith((".", "__MACOSX")) for part in path.parts)


def predict_files(
    model: Model, files: Iterable[Path], on_error: Callable[[Path, str], None]
) -> Iterator[dict[str, Any]]:
    """Yield ``filename``, ``class`` and ``confidence`` of each file in order; tell of those that cannot be read."""
    waiting = iter(files)
    while chunk := list(islice(waiting, IMAGES_AT_ONCE)):
        names, images = [], []
        for path in chunk:
            try:
                images.append(read_image(path, model))
                names.append(str(path))
            except ValueError as error:
                on_error(path, str(error))
        if images:
            yield from _name(model, names, model.probabilities(np.stack(images)))


def _name(model: Model, names: Sequence[str], shares: Array) -> Iterator[dict[str, Any]]:
    for name, row in zip(names, shares, strict=True):
        best = int(row.argmax())
        yield {"filename": name, "class": model.classes[best], "confidence": float(row[best])}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run by the command line; return the exit status: 0, or 1 where a file could not be read, or 2 without a model."""
    options = _parser().parse_args(arguments)
    try:
        model = Model.open(options.model)
    except (OSError, ValueError) as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return 2
    broken: list[Path] = []

    def tell(path: Path, reason: str) -> None:
        broken.append(path)
        print(f"predict.py: {path}: {reason}", file=sys.stderr)

    found = predict_files(model, list_files(options.files), tell)
    _print(found, as_json=options.json)
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="predict.py", description="Predict the classes of image files.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE_OR_FOLDER", help="images, or folders of them")
    parser.add_argument("--json", action="store_true", help="print a list of filename, class and confidence as JSON")
    parser.add_argument(
        "--model", type=Path, default=Path(__file__).with_name("model.npz"), help="model.npz; else the one beside me"
    )
    return parser


def _print(found: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(list(found), indent=1, ensure_ascii=False))
        return
    rows = [(one["filename"], one["class"], f"{100 * one['confidence']:.2f} %") for one in found]
    widths = [max(map(len, column)) for column in zip(("file", "class", "confidence"), *rows, strict=True)]
    for row in (("file", "class", "confidence"), *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # Whoever reads, `head` for one, has read enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
