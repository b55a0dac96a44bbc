import io

import numpy as np
import pytest
from PIL import Image

from core.datasets.images import decode, to_array
from core.datasets.small_images import decode_rows, drop_colors, resize_many, unpack_png


def save(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def make_images(mode, size, count=12):
    """Return PNG files whose rows use every filter: noise, smooth and flat pictures in turn."""
    shape = (*size, 3) if mode == "RGB" else size
    for seed in range(count):
        noise = np.random.default_rng(seed)
        pixels = noise.integers(0, 256, shape, np.uint8)
        if seed % 3 == 1:
            pixels = np.cumsum(noise.integers(0, 5, shape), axis=seed % 2).astype(np.uint8)
        elif seed % 3 == 2:
            pixels = np.full(shape, seed, np.uint8)
        yield save(pixels)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(28, 28), (1, 1), (5, 17), (64, 64)])
@pytest.mark.parametrize("image_size", [28, 32, 5])
def test_many_at_once_equal_one_by_one_to_the_bit(mode, size, image_size):
    files = list(make_images(mode, size))
    pixels = decode_rows([unpack_png(data) for data in files])
    one_by_one = [decode(data, max_pixels=10**6).image for data in files]
    for own, image in zip(pixels, one_by_one, strict=True):
        assert own.tobytes() == image.tobytes()
    color_mode = "grayscale" if mode == "L" else "rgb"
    for own, image in zip(resize_many(pixels, image_size), one_by_one, strict=True):
        assert np.array_equal(own, to_array(image, image_size=image_size, color_mode=color_mode))
    if mode == "RGB":
        for own, image in zip(resize_many(drop_colors(pixels), image_size), one_by_one, strict=True):
            assert np.array_equal(own, to_array(image, image_size=image_size, color_mode="grayscale"))


def test_the_made_images_use_every_filter():
    used = set()
    for data in make_images("L", (28, 28), 60):
        used |= set(unpack_png(data).rows[::29])
    assert used >= {0, 1, 2, 4}


def test_everything_unusual_is_left_to_the_ordinary_way():
    plain = save(np.zeros((8, 8), np.uint8))
    assert unpack_png(plain) is not None
    for data in (
        b"",
        plain[:-20],
        plain[:30] + b"\xff" + plain[31:],
        save(np.zeros((65, 64), np.uint8)),
        save(np.zeros((8, 8), np.uint16)),
        save(np.zeros((8, 8, 4), np.uint8)),
        save(np.zeros((8, 8), np.uint8), transparency=0),
        b"\xff\xd8" + plain,
    ):
        assert unpack_png(data) is None
