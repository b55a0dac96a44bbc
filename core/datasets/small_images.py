"""Many small images at once: the pixels of `core.datasets.images`, bit for bit, at a third of the cost of each.

Making an image takes Pillow longer than decoding its few hundred pixels. So files of one form are decoded below one
another into a *sheet*, one tall image. Squares are resized all at once, too: Pillow's filter works on rows and columns
separately, so one call widens all rows of all images, and one more all columns.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, _imaging

from core.datasets.images import color_mode_of, is_small, read_array, to_array
from core.datasets.plain_images import PlainForm, read_plain
from core.domain.datasets import ColorMode
from core.errors import InvalidError

MOST_PIXELS = 64 * 64


def fits_sheet(form: PlainForm, *, max_pixels: int, image_size: int) -> bool:
    """Tell whether images of a form are small enough to be decoded together."""
    return is_small(form, max_pixels=min(MOST_PIXELS, max_pixels), image_size=image_size)


def read_arrays(
    files: Sequence[bytes], *, image_size: int, color_mode: ColorMode, max_pixels: int
) -> list[npt.NDArray[np.uint8] | InvalidError]:
    """Return for each file what `core.datasets.images.read_array` returns, or the error that it raises."""
    small = defaultdict[PlainForm, dict[int, bytes]](dict)
    for index, data in enumerate(files):
        plain = read_plain(data)
        if plain and fits_sheet(plain[0], max_pixels=max_pixels, image_size=image_size):
            small[plain[0]][index] = plain[1]
    found: dict[int, npt.NDArray[np.uint8]] = {}
    for form, contents in small.items():
        if len(contents) == 1:
            continue  # a sheet of its own would take longer
        sheet, sound = decode_sheet(form, list(contents.values()))
        pixels = resize_sheet(sheet, form, image_size, color_mode)
        found.update((index, own) for index, own, is_sound in zip(contents, pixels, sound, strict=True) if is_sound)

    def read_alone(data: bytes) -> npt.NDArray[np.uint8] | InvalidError:
        try:
            return read_array(data, image_size=image_size, color_mode=color_mode, max_pixels=max_pixels)
        except InvalidError as error:
            return error

    return [found[index] if index in found else read_alone(data) for index, data in enumerate(files)]


def decode_sheet(form: PlainForm, contents: Sequence[bytes]) -> tuple[Image.Image, list[bool]]:
    """Decode files of one form, as `core.datasets.plain_images.read_plain` gives them, below one another.

    Returns:
        The sheet, and whether each image is sound. The place of one that is not has any pixels.
    """
    width, height = form.size
    sheet = Image.new(form.mode, (width, height * len(contents)))
    make_decoder = getattr(_imaging, f"{form.decoder}_decoder")
    options = form.decoder_options
    sound = []
    for place, content in enumerate(contents):
        decoder = make_decoder(form.mode, *options)
        decoder.setimage(sheet.im, (0, place * height, width, (place + 1) * height))
        used, error = decoder.decode(content)
        sound.append(used < 0 and error == 0)  # as `Image.frombytes` tells success
    return sheet, sound


Box = tuple[int, int, int, int]


def cut_sheet(sheet: Image.Image, form: PlainForm) -> Iterator[tuple[Box, bytes]]:
    """Yield where each image of a sheet is (left, top, right, bottom), and its pixels, row by row."""
    width, height = form.size
    pixels = sheet.tobytes()
    length = len(pixels) // sheet.height * height
    for place in range(sheet.height // height):
        yield (0, place * height, width, (place + 1) * height), pixels[place * length : (place + 1) * length]


def resize_sheet(
    sheet: Image.Image, form: PlainForm, image_size: int, color_mode: ColorMode | None
) -> npt.NDArray[np.uint8]:
    """Resize the images of a sheet to squares as `core.datasets.images.to_array` does.

    Returns:
        uint8 ``(images, image_size, image_size, channels)``; where no mode is wanted, as many channels as they have.
    """
    if color_mode == "grayscale" and sheet.mode != "L":
        sheet = sheet.convert("L")
    if form.size[0] == form.size[1] or image_size in form.size:
        pixels = _resize_together(sheet, form, image_size)
    else:
        # Both passes round, and which of them comes first is Pillow's to choose, by the sides of the image.
        pixels = _resize_alone(sheet, form, image_size)
    return np.broadcast_to(pixels, (*pixels.shape[:3], 3)) if color_mode == "rgb" else pixels


def _resize_alone(sheet: Image.Image, form: PlainForm, image_size: int) -> npt.NDArray[np.uint8]:
    width, height = form.size
    images = (sheet.crop((0, top, width, top + height)) for top in range(0, sheet.height, height))
    mode = color_mode_of(sheet)
    return np.stack([to_array(image, image_size=image_size, color_mode=mode) for image in images])


def _resize_together(sheet: Image.Image, form: PlainForm, image_size: int) -> npt.NDArray[np.uint8]:
    height = form.size[1]
    count, channels = sheet.height // height, len(sheet.getbands())
    if sheet.width != image_size:
        sheet = sheet.resize((image_size, sheet.height), Image.Resampling.BILINEAR)
    pixels = np.asarray(sheet).reshape(count, height, image_size, channels)
    if height == image_size:
        return pixels
    beside = pixels.transpose(1, 0, 2, 3).reshape(height, count * image_size, channels)
    wide = Image.fromarray(beside[..., 0] if channels == 1 else beside)
    wide = wide.resize((count * image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(wide).reshape(image_size, count, image_size, channels).transpose(1, 0, 2, 3)
