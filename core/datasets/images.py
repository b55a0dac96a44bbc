"""Reading one image: the only preprocessing there is, used when a dataset is read and when one predicts.

The same bytes give the same array, whoever asks: format by content, first frame, EXIF orientation applied, alpha
over white, then one of two forms, 8-bit grayscale (``L``) or 8-bit ``RGB``, by these rules:

================================ =====================================================================
stored as                        becomes
================================ =====================================================================
1-bit, 8-bit gray, gray + alpha  ``L``
16-bit gray                      ``L``, 65,535 becoming 255
32-bit integer                   ``L``, cut to 0–65,535 and then as 16-bit
floating point                   ``L``, 0–1 becoming 0–255, cut beyond
palette                          ``L`` where each pixel's colour is a gray, else ``RGB``
RGB, RGBA, CMYK, YCbCr, LAB, HSV ``RGB``
================================ =====================================================================
"""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import (
    ExifTags,
    Image,
    MpoImagePlugin,  # noqa: F401 - with these loaded, a first WebP makes Pillow load none of its forty other readers
    TiffImagePlugin,  # noqa: F401 - as above
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401 - as above
)

from core.datasets.image_structure import check_structure
from core.datasets.plain_images import PlainForm, read_plain
from core.domain.datasets import ColorMode
from core.errors import InvalidError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
MAX_SIDE = 65_535
_DRAFT_FACTOR = 4
_SMALL_PIXELS = 512 * 512
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDE_SWAPPING = frozenset(_TURNS[orientation] for orientation in (5, 6, 7, 8))
_ORIENTATION_KEYS = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})
# All that Pillow's readers are known to raise on broken files.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    LookupError,
    EOFError,
    RuntimeError,
    Warning,  # where a process turns warnings into errors
    struct.error,
    zlib.error,
)
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True)
class DecodedImage:
    """An image in one of the two forms, and what it was.

    Attributes:
        image: Mode ``L`` or ``RGB``, turned upright.
        mode: Pillow's name of the mode in which it is stored.
        size: Width and height of the stored image, once turned upright, in pixels.
    """

    image: Image.Image
    mode: str
    size: tuple[int, int]


def decode(data: bytes, *, max_pixels: int, image_size: int | None = None) -> DecodedImage:
    """Decode an image file.

    Args:
        data: The file's bytes.
        max_pixels: Most pixels; more are refused before anything is decoded.
        image_size: Side of the square that the image will be resized to, if it will: a JPEG photo of at least
            eight times that side is then decoded at a fraction of its size (never below four times that side).

    Raises:
        InvalidError: ``unreadable_image`` (no image of an accepted format, cut short, damaged) or
            ``image_too_large`` (pixels, frames, metadata).
    """
    try:
        return _decode_small(data, max_pixels, image_size) or _decode_any(data, max_pixels, image_size)
    except InvalidError:
        raise
    except _BOMBS as error:
        raise _too_large(max_pixels) from error
    except MemoryError as error:
        raise InvalidError("The image takes more memory than allowed.", code="image_too_large") from error
    except UnidentifiedImageError as error:
        raise InvalidError(
            "The image cannot be read: it is no PNG, JPEG, BMP, GIF, WebP or TIFF, or its beginning is damaged.",
            code="unreadable_image",
        ) from error
    except _DECODER_ERRORS as error:
        raise InvalidError("The image cannot be read: it is cut short or damaged.", code="unreadable_image") from error


def _too_large(max_pixels: int) -> InvalidError:
    return InvalidError(
        f"The image has more than {max_pixels:,} pixels, or a side of more than {MAX_SIDE:,}.", code="image_too_large"
    )


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels or max(size) > MAX_SIDE:
        raise _too_large(max_pixels)


def _decode_any(data: bytes, max_pixels: int, image_size: int | None) -> DecodedImage:
    """Decode by Pillow's plugin of the format."""
    check_structure(data)
    if data[:4] == b"RIFF":
        _check_size(_read_webp_size(data), max_pixels)  # Pillow allocates an animation's canvas on opening
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        _check_size(image.size, max_pixels)
        mode, size = image.mode, image.size
        if image.format in ("JPEG", "MPO") and image_size is not None and _is_far_larger(size, image_size):
            image.draft(None, (image_size * _DRAFT_FACTOR, image_size * _DRAFT_FACTOR))
        image.load()
        turn = _find_turn(image)
        upright = image.transpose(turn) if turn is not None else image
        return DecodedImage(_simplify(upright), mode, size[::-1] if turn in _SIDE_SWAPPING else size)


def _is_far_larger(size: tuple[int, int], image_size: int) -> bool:
    return min(size) >= 2 * _DRAFT_FACTOR * image_size


def _read_webp_size(data: bytes) -> tuple[int, int]:
    """Return width and height from the first chunk of a WebP file."""
    kind, first = data[12:16], data[20:30]
    if len(first) < 10:
        raise ValueError("the header is cut short")
    if kind == b"VP8X":
        return 1 + int.from_bytes(first[4:7], "little"), 1 + int.from_bytes(first[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(first[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<2H", first[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _find_turn(image: Image.Image) -> Image.Transpose | None:
    """Return what turns the image upright. Pillow itself turns a TIFF; a broken EXIF block means no turn."""
    if image.format == "TIFF" or _ORIENTATION_KEYS.isdisjoint(image.info):
        return None
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DECODER_ERRORS:
        return None


def _simplify(image: Image.Image) -> Image.Image:
    """Return the image in mode ``L`` or ``RGB``, by the rules at the top."""
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


def _lay_over_white(image: Image.Image, mode: str) -> Image.Image:
    background = Image.new(mode, image.size, "white")
    background.paste(image.convert(mode), mask=image.getchannel("A"))
    return background


def _scale_to_bytes(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F":
        values = np.nan_to_num(values) * 65_535
    levels = np.clip(values, 0, 65_535)
    return Image.fromarray(((levels.astype(np.uint32) * 255 + 32_767) // 65_535).astype(np.uint8))


def _drop_equal_channels(image: Image.Image) -> Image.Image:
    red, green, blue = image.split()
    return red if red.tobytes() == green.tobytes() == blue.tobytes() else image


def _decode_small(data: bytes, max_pixels: int, image_size: int | None) -> DecodedImage | None:
    """Decode a small, plain PNG or JPEG by Pillow's decoders, without its slower way of reading headers.

    The pixels are the same; ``None`` where anything is unusual, broken or large, which `_decode_any` then decides.
    """
    plain = read_plain(data)
    if plain is None or not is_small(plain[0], max_pixels=min(_SMALL_PIXELS, max_pixels), image_size=image_size):
        return None
    (mode, size, decoder), content = plain
    try:
        image = Image.frombytes(mode, size, content, decoder, *plain[0].decoder_options)
    except (ValueError, OSError):
        return None
    return DecodedImage(image, mode, size)


def is_small(form: PlainForm, *, max_pixels: int, image_size: int | None) -> bool:
    """Tell whether plain files of a form may go the short way: they have few pixels, and no draft of them is wanted."""
    width, height = form.size
    is_draft = form.decoder == "jpeg" and image_size is not None and _is_far_larger(form.size, image_size)
    return 0 < width * height <= max_pixels and max(form.size) <= MAX_SIDE and not is_draft


def color_mode_of(image: Image.Image) -> ColorMode:
    """Return what a decoded image is."""
    return "grayscale" if image.mode == "L" else "rgb"


def to_array(image: Image.Image, *, image_size: int, color_mode: ColorMode) -> npt.NDArray[np.uint8]:
    """Resize a decoded image to a square, by Pillow's antialiased bilinear filter; one that fits is not touched.

    Returns:
        uint8 ``(image_size, image_size, channels)``, 1 channel for ``grayscale``, 3 for ``rgb``.
    """
    if color_mode == "grayscale" and image.mode != "L":
        image = image.convert("L")
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    channels = len(image.getbands())
    pixels = np.frombuffer(image.tobytes(), np.uint8).reshape(image_size, image_size, channels)
    return np.repeat(pixels, 3, axis=2) if color_mode == "rgb" and channels == 1 else pixels


def read_array(data: bytes, *, image_size: int, color_mode: ColorMode, max_pixels: int) -> npt.NDArray[np.uint8]:
    """Decode an image file and bring it into a network's form.

    Args:
        data: The file's bytes.
        image_size: Side of the square in pixels.
        color_mode: What the network takes.
        max_pixels: Most pixels of the stored image.

    Returns:
        uint8 ``(image_size, image_size, channels)``.

    Raises:
        InvalidError: As `decode`.
    """
    decoded = decode(data, max_pixels=max_pixels, image_size=image_size)
    return to_array(decoded.image, image_size=image_size, color_mode=color_mode)
