import struct

import pytest
from forgery import pictures
from PIL import Image, TiffImagePlugin

from core.datasets.image_structure import MAX_FRAMES, MAX_METADATA_BYTES, check_structure
from core.datasets.images import decode
from core.errors import InvalidError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
MUCH = MAX_METADATA_BYTES + 1


def refusal(data):
    with pytest.raises(InvalidError) as caught:
        decode(data, max_pixels=10_000)
    return caught.value


@pytest.mark.parametrize("image_format", FORMATS)
def test_an_ordinary_image_is_taken(image_format):
    data = pictures.draw(size=(40, 30), mode="RGB", image_format=image_format)
    check_structure(data)
    assert decode(data, max_pixels=10_000).size == (40, 30)


@pytest.mark.parametrize("make", [pictures.apng, pictures.gif, pictures.webp])
def test_an_animation_is_its_first_frame_and_has_a_bounded_number(make):
    # A51
    assert decode(make(3), max_pixels=10_000).image.size == decode(make(MAX_FRAMES), max_pixels=10_000).image.size
    assert refusal(make(MAX_FRAMES + 1)).code == "image_too_large"
    assert "1,000 frames" in refusal(make(10_000)).detail


def test_pages_of_a_tiff_are_bounded():
    # A51
    page = Image.new("L", (2, 2))

    def book(pages):
        return pictures.encode(page, "TIFF", save_all=True, append_images=[page] * (pages - 1))

    assert decode(book(3), max_pixels=10_000).size == (2, 2)
    assert refusal(book(MAX_FRAMES + 1)).code == "image_too_large"


def test_directories_that_lead_in_a_circle_are_refused():
    # A51: by hand, and in a sound file whose second directory is the first again
    data = bytearray(pictures.draw(mode="RGB", image_format="TIFF"))
    start = struct.unpack_from("<I", data, 4)[0]
    struct.pack_into("<I", data, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], start)
    for circle in (bytes(data), pictures.tiff(12)):
        assert "circle" in refusal(circle).detail
    assert decode(pictures.tiff(0), max_pixels=100).size == (2, 2)


@pytest.mark.parametrize(
    "data",
    [
        pictures.png(before=[pictures.chunk(b"tEXt", b"k\0" + bytes(MUCH))]),
        pictures.png(before=[pictures.chunk(b"iCCP", b"k\0\0" + bytes(MUCH))]),
        pictures.png(before=[pictures.chunk(b"eXIf", bytes(MUCH))]),
        pictures.png(before=[pictures.chunk(b"zTXt", b"k\0\0" + bytes(2**20))] * 9),
        pictures.draw(mode="RGB", image_format="WEBP", exif=bytes(MUCH)),
        b"\xff\xd8" + (b"\xff\xe1\xff\xff" + bytes(65_533)) * 130 + pictures.draw(mode="RGB", image_format="JPEG")[2:],
        b"GIF89a\2\0\2\0\0\0\0\x21\xfe" + (b"\xff" + bytes(255)) * (MUCH // 255 + 1) + b"\0\x3b",
    ],
    ids=["text", "profile", "exif", "many texts", "webp", "jpeg", "gif"],
)
def test_metadata_is_bounded(data):
    # A53
    assert "too much metadata" in refusal(data).detail


def test_metadata_of_a_tiff_is_bounded():
    # A53
    about = TiffImagePlugin.ImageFileDirectory_v2()
    about[270] = "x" * MUCH
    assert "too much metadata" in refusal(pictures.encode(Image.new("L", (2, 2)), "TIFF", tiffinfo=about)).detail


def test_more_parts_than_any_image_has_are_not_all_looked_at():
    parts = pictures.chunk(b"teSt", b"") * 1_000_100
    assert "too many parts" in refusal(pictures.png(before=[parts])).detail


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_file_that_is_cut_anywhere_is_left_to_the_decoder(image_format):
    data = pictures.draw(size=(9, 9), mode="RGB", image_format=image_format)
    for end in range(len(data)):
        check_structure(data[:end])
