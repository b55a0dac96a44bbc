"""Many small images at once: the pixels of `core.datasets.images`, bit for bit, at a third of the cost of each.

Making an image takes Pillow longer than decoding its few hundred pixels. So files of one form are decoded below one
another into a *sheet*, one tall image. Resizing, too, is done for all at once: Pillow's filter works on rows and
columns separately, so one call widens all rows of all images, and one more all columns.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, _imaging

from core.datasets.plain_images import PlainForm

MOST_PIXELS = 64 * 64


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


def resize_sheet(sheet: Image.Image, form: PlainForm, image_size: int) -> npt.NDArray[np.uint8]:
    """Resize the images of a sheet to squares as `core.datasets.images.to_array` does.

    Returns:
        uint8 ``(images, image_size, image_size, channels)``.
    """
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
