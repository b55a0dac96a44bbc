import io
import struct
import zipfile
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from reading import read_arrays as one_by_one

from core.datasets.images import decode, is_small, to_array
from core.datasets.plain_images import read_plain
from core.datasets.small_images import MOST_PIXELS, cut_sheet, decode_sheet, read_arrays, resize_sheet
from core.errors import InvalidError

THOROUGH = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CHANNELS = {0: 1, 2: 3}
FAULTS = ["none"] * 6 + ["checksum", "short", "long", "cut", "adler", "trailing", "filter", "no end", "interlaced"]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@st.composite
def pngs(draw):
    """Draw PNG files written chunk by chunk: rows with any filter, pixels in several pieces, and many a lie."""
    color, fault = draw(st.sampled_from([0, 2])), draw(st.sampled_from(FAULTS))
    width, height = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    length = width * CHANNELS[color]
    filters = draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    if fault == "filter":
        filters[-1] = 7
    rows = b"".join(bytes([kind]) + noise.integers(0, 256, length, np.uint8).tobytes() for kind in filters)
    rows = {"short": rows[:-1], "long": rows + b"\0" * 20}.get(fault, rows)
    packed = zlib.compress(rows, draw(st.integers(0, 9)))
    packed = {"cut": packed[:-6], "adler": packed[:-1] + bytes([packed[-1] ^ 1]), "trailing": packed + b"more"}.get(
        fault, packed
    )
    cuts = sorted({0, len(packed), *draw(st.lists(st.integers(0, len(packed)), max_size=2))})
    pieces = [chunk(b"IDAT", packed[start:end]) for start, end in pairwise(cuts)]
    if fault == "checksum":
        pieces[0] = pieces[0][:-1] + bytes([pieces[0][-1] ^ 1])
    extras = draw(st.lists(st.sampled_from([(b"gAMA", b"\0\0\xb1\x8f"), (b"tIME", b"\7" * 7), (b"tRNS", b"\0\0")])))
    head = struct.pack(">2L5B", width, height, 8, color, 0, 0, fault == "interlaced")
    end = b"" if fault == "no end" else chunk(b"IEND", b"")
    chunks = [chunk(b"IHDR", head), *(chunk(*extra) for extra in extras), *pieces, end]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + draw(st.sampled_from([b"", b"behind"]))


@st.composite
def jpegs(draw):
    """Draw JPEG files, half of them with some bytes changed or the end cut off."""
    shape = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pixels = noise.integers(0, 256, (*shape, 3) if draw(st.booleans()) else shape, np.uint8)
    options = {
        "quality": draw(st.sampled_from([10, 75, 95])),
        "subsampling": draw(st.integers(0, 2)),
        "progressive": draw(st.booleans()),
        "optimize": draw(st.booleans()),
        "restart_marker_blocks": draw(st.integers(0, 2)),
    }
    data = bytearray(save(pixels, "JPEG", **options))
    if draw(st.booleans()):
        for place, value in draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=3)):
            data[place] = value
        del data[draw(st.integers(len(data) // 2, len(data))) :]
    return bytes(data)


def save(pixels, image_format="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


def decode_short(files):
    """Return what the short way makes of each file, ``None`` where it leaves the file to the long way."""
    decoded = [None] * len(files)
    groups = {}
    for index, data in enumerate(files):
        plain = read_plain(data)
        if plain and is_small(plain[0], max_pixels=MOST_PIXELS, image_size=None):
            groups.setdefault(plain[0], []).append((index, plain[1]))
    for form, found in groups.items():
        sheet, sound = decode_sheet(form, [content for _, content in found])
        for (index, _), is_sound, (_, pixels) in zip(found, sound, cut_sheet(sheet, form), strict=True):
            decoded[index] = (form.mode, form.size, pixels) if is_sound else None
    return decoded


def decode_by_pillow(data):
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            image.load()
            return image.mode, image.size, image.tobytes()
    except (OSError, SyntaxError, ValueError) as error:
        return error


@given(st.lists(pngs(), min_size=1, max_size=6))
@THOROUGH
def test_pngs_have_pillows_pixels_whatever_is_wrong_with_their_neighbours(files):
    for data, short in zip(files, decode_short(files), strict=True):
        if short is not None:
            assert short == decode_by_pillow(data)


@given(st.lists(jpegs(), min_size=1, max_size=6))
@THOROUGH
def test_jpegs_have_pillows_pixels_whatever_is_wrong_with_their_neighbours(files):
    for data, short in zip(files, decode_short(files), strict=True):
        if short is not None:
            assert short == decode_by_pillow(data)


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
@pytest.mark.parametrize("size", [(28, 28), (1, 1), (5, 17), (2, 6), (3, 64), (64, 3), (64, 64)])
@pytest.mark.parametrize("image_size", [28, 32, 5])
@pytest.mark.parametrize("color_mode", ["grayscale", "rgb"])
def test_many_at_once_are_resized_as_one_by_one_to_the_bit(mode, size, image_size, color_mode):
    files = list(make_images(mode, size))
    (form,) = {read_plain(data)[0] for data in files}
    sheet, sound = decode_sheet(form, [read_plain(data)[1] for data in files])
    assert all(sound)
    for own, data in zip(resize_sheet(sheet, form, image_size, color_mode), files, strict=True):
        image = decode(data, max_pixels=10**6).image
        assert np.array_equal(own, to_array(image, image_size=image_size, color_mode=color_mode))


@given(st.lists(pngs() | jpegs() | st.binary(max_size=40), max_size=8), st.sampled_from([5, 28, 32]), st.data())
@THOROUGH
def test_files_of_all_kinds_are_read_together_as_one_by_one(files, image_size, data):
    mode, most = data.draw(st.sampled_from(["grayscale", "rgb"])), data.draw(st.sampled_from([30, 10**6]))
    wanted = {"image_size": image_size, "color_mode": mode, "max_pixels": most}
    together = read_arrays(files, **wanted)
    for own, alone in zip(together, one_by_one(files, **wanted), strict=True):
        if isinstance(alone, InvalidError):
            assert (own.code, own.detail) == (alone.code, alone.detail)
        else:
            assert own.dtype == np.uint8
            assert np.array_equal(own, alone)


def test_everything_unusual_is_left_to_the_ordinary_way():
    plain = save(np.zeros((8, 8), np.uint8))
    photo = save(np.zeros((8, 8, 3), np.uint8), "JPEG")
    assert None not in decode_short([plain, photo])
    unusual = [
        b"",
        plain[:-20],
        plain[:30] + b"\xff" + plain[31:],
        save(np.zeros((65, 64), np.uint8)),
        save(np.zeros((8, 8), np.uint16)),
        save(np.zeros((8, 8, 4), np.uint8)),
        save(np.zeros((8, 8), np.uint8), transparency=0),
        b"\xff\xd8" + plain,
        photo[:200],
        save(np.zeros((8, 8, 3), np.uint8), "JPEG", exif=b"Exif\0\0II*\0"),
        save(np.zeros((8, 8, 3), np.uint8), "JPEG", comment=b"\xff\xda"),
    ]
    assert decode_short(unusual) == [None] * len(unusual)


@pytest.mark.parametrize("name", ["cifar10-jpg.zip", "sign-digits.zip", "produce-photos.zip"])
def test_real_images_have_pillows_pixels(name, test_data):
    with zipfile.ZipFile(Path(test_data) / name) as archive:
        files = [archive.read(member) for member in archive.namelist()[::37][:800]]
    for data, short in zip(files, decode_short(files), strict=True):
        assert short in (None, decode_by_pillow(data))
    assert name != "cifar10-jpg.zip" or None not in decode_short(files)
