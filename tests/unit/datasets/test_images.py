import io
import struct
import threading
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from core.datasets.images import color_mode_of, decode, read_array, to_array
from core.errors import InvalidError

PIXELS = 10_000_000


def save(image, image_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def look(data, **options):
    decoded = decode(data, max_pixels=PIXELS, **options)
    return decoded.image.mode, np.asarray(decoded.image)


def gradient(mode="RGB", size=(40, 30)):
    red = Image.linear_gradient("L").resize(size)
    channels = [red, red.rotate(180), Image.radial_gradient("L").resize(size), red.rotate(90)]
    return Image.merge(mode, channels[: len(mode)]) if len(mode) > 1 else red


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_every_accepted_format_is_read(image_format):
    data = save(gradient().quantize() if image_format == "GIF" else gradient(), image_format)
    mode, pixels = look(data)
    assert (mode, pixels.shape) == ("RGB", (30, 40, 3))
    assert np.abs(pixels.astype(int) - np.asarray(gradient()).astype(int)).mean() < 8


@pytest.mark.parametrize("image_format", ["EPS", "ICNS", "PPM", "TGA", "PDF", "PCX", "DDS", "ICO"])
def test_other_formats_are_refused_whatever_their_name(image_format):
    # A50
    with pytest.raises(InvalidError) as error:
        decode(save(gradient(size=(64, 64)), image_format), max_pixels=PIXELS)
    assert error.value.code == "unreadable_image"


@pytest.mark.parametrize(
    "data", [b"", b"8BPS\0\1" + bytes(100), b"<svg/>", b"%PDF-1.4", b"SIMPLE  =", b"\xff\xd8", bytes(9)]
)
def test_what_is_no_image_is_refused(data):
    # A50, A56
    with pytest.raises(InvalidError, match="cannot be read"):
        decode(data, max_pixels=PIXELS)


@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000), (4000, 4000)])
def test_images_above_the_cap_are_refused_by_their_header(size):
    # A48, A49, A56
    with pytest.raises(InvalidError) as error:
        decode(save(Image.new("1", size)), max_pixels=PIXELS)
    assert error.value.code == "image_too_large"


def test_sizes_that_pillow_itself_refuses_are_too_large():
    # A49: the header alone says 20,000 and 14,000 pixels a side
    for side in (14_000, 20_000):
        header = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
        chunk = b"IHDR" + header
        data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        with pytest.raises(InvalidError) as error:
            decode(data + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")), max_pixels=PIXELS)
        assert error.value.code == "image_too_large"


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_size_is_read_before_pillow_allocates_its_canvas(lossless):
    # A51
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "blue")]
    for data in (
        save(frames[0], "WEBP", lossless=lossless),
        save(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=lossless),
    ):
        with pytest.raises(InvalidError) as error:
            decode(data, max_pixels=64 * 64 - 1)
        assert error.value.code == "image_too_large"
        assert decode(data, max_pixels=64 * 64).size == (64, 64)
    with pytest.raises(InvalidError, match="cannot be read"):
        decode(data[:24], max_pixels=PIXELS)


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "TIFF", "PNG"])
def test_only_the_first_frame_counts(image_format):
    # A51
    frames = [Image.new("RGB", (9, 9), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = save(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
    _, pixels = look(data)
    assert pixels[4, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_truncated_images_are_refused(image_format, share):
    # A52
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = save(noise, image_format)
    with pytest.raises(InvalidError) as error:
        decode(data[: int(len(data) * share)], max_pixels=PIXELS)
    assert error.value.code == "unreadable_image"
    assert "0x" not in error.value.detail


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_random_damage_never_escapes_as_another_error(image_format):
    data = save(gradient("RGB"), image_format)
    for seed in range(120):
        damaged = bytearray(data)
        noise = np.random.default_rng(seed)
        for _ in range(3):
            damaged[noise.integers(0, min(len(data), 600))] = noise.integers(0, 256)
        with suppress(InvalidError):
            read_array(bytes(damaged), image_size=16, color_mode="rgb", max_pixels=PIXELS)


def test_an_enormous_text_chunk_is_no_way_in():
    # A53: 60 MB of text packed into 60 kB
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "a" * 60_000_000, zip=True)
    with pytest.raises(InvalidError):
        decode(save(gradient(), pnginfo=text), max_pixels=PIXELS)


def test_one_bit_becomes_black_and_white():
    # A53, like all of the fixed conversions below
    image = Image.new("1", (4, 4))
    image.putpixel((1, 2), 1)
    mode, pixels = look(save(image))
    assert (mode, pixels[2, 1], pixels[0, 0]) == ("L", 255, 0)


def test_sixteen_bits_are_scaled():
    levels = np.array([[0, 128, 257, 32_768, 65_535]], np.uint16)
    for image_format in ("PNG", "TIFF"):
        mode, pixels = look(save(Image.fromarray(levels), image_format))
        assert (mode, pixels.tolist()) == ("L", [[0, 0, 1, 128, 255]])


def test_integers_and_floats_of_tiff_are_scaled():
    integers = Image.fromarray(np.array([[-5, 0, 65_535, 70_000]], np.int32))
    floats = Image.fromarray(np.array([[-1.0, 0.0, 0.5, 1.0, 7.0, np.nan]], np.float32))
    assert look(save(integers, "TIFF"))[1].tolist() == [[0, 0, 255, 255]]
    assert look(save(floats, "TIFF"))[1].tolist() == [[0, 0, 127, 255, 255, 0]]


def test_palette_images_are_gray_where_their_colours_are():
    gray = Image.merge("RGB", [gradient("L")] * 3).quantize(16)
    mode, pixels = look(save(gray))
    assert (mode, pixels.shape) == ("L", (30, 40))
    assert look(save(gradient().quantize(16)))[0] == "RGB"


def test_alpha_is_laid_over_white():
    clear = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    clear.putpixel((1, 0), (10, 20, 30, 255))
    clear.putpixel((2, 0), (0, 0, 0, 128))
    assert look(save(clear))[1].tolist() == [[[255, 255, 255], [10, 20, 30], [127, 127, 127]]]
    gray = Image.new("LA", (1, 1), (0, 0))
    assert look(save(gray)) == ("L", np.array([[255]]))


def test_a_transparent_colour_is_white():
    assert look(save(Image.new("L", (1, 1), 7), transparency=7))[1].tolist() == [[255]]
    assert look(save(Image.new("RGB", (1, 1), (7, 8, 9)), transparency=(7, 8, 9)))[1].tolist() == [[[255] * 3]]
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([0, 200, 0])
    assert look(save(palette, transparency=0)) == ("L", np.array([[255]]))


def test_cmyk_becomes_rgb():
    mode, pixels = look(save(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert mode == "RGB"
    assert pixels[4, 4, 0] > 200
    assert pixels[4, 4, 1] < 80


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(image_format, orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255
    turned = upright.transpose(1, 0, 2)
    inverses = [upright, upright[:, ::-1], upright[::-1, ::-1], upright[::-1]]
    inverses += [turned, turned[::-1], turned[::-1, ::-1], turned[:, ::-1]]
    stored = Image.fromarray(np.ascontiguousarray(inverses[orientation - 1]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if image_format == "WEBP" else {}
    decoded = decode(save(stored, image_format, exif=exif, **options), max_pixels=PIXELS)
    assert decoded.size == (32, 16)
    assert np.abs(np.asarray(decoded.image).astype(int) - upright).mean() < 3


@pytest.mark.filterwarnings("ignore")  # as in production: Pillow warns of such files
def test_broken_exif_means_no_turn():
    data = save(gradient(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert decode(data, max_pixels=PIXELS).size == (40, 30)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_the_short_way_for_small_files_gives_pillows_pixels(image_format, mode):
    for seed in range(20):
        noise = np.random.default_rng(seed)
        size = noise.integers(1, 60, 2)
        pixels = noise.integers(0, 256, (*size, 3) if mode == "RGB" else size, np.uint8)
        pixels = np.sort(pixels, axis=0) if seed % 2 else pixels  # rows for which PNG chooses other filters
        data = save(Image.fromarray(pixels), image_format)
        assert np.array_equal(look(data)[1], np.asarray(Image.open(io.BytesIO(data))))


def test_files_with_extras_give_the_same_pixels_as_without():
    image = gradient("L")
    plain = look(save(image))[1]
    assert np.array_equal(look(save(image, dpi=(72, 72)))[1], plain)
    assert np.array_equal(look(save(image, icc_profile=b"none"))[1], plain)


def test_large_photos_are_decoded_at_a_fraction_and_report_their_true_size():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = save(gradient(size=(1600, 1200)), "JPEG", exif=exif, quality=95)
    decoded = decode(data, max_pixels=PIXELS, image_size=32)
    assert decoded.size == (1200, 1600)
    assert min(decoded.image.size) >= 4 * 32
    assert max(decoded.image.size) < 1600
    small = to_array(decoded.image, image_size=32, color_mode="rgb").astype(int)
    whole = to_array(decode(data, max_pixels=PIXELS).image, image_size=32, color_mode="rgb")
    assert np.abs(small - whole).mean() < 2


@pytest.mark.parametrize(("color_mode", "channels"), [("grayscale", 1), ("rgb", 3)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_arrays_have_the_form_that_is_asked_for(mode, color_mode, channels):
    pixels = read_array(save(gradient(mode)), image_size=28, color_mode=color_mode, max_pixels=PIXELS)
    assert (pixels.shape, pixels.dtype) == ((28, 28, channels), np.uint8)


def test_an_image_that_fits_is_not_touched():
    image = gradient("L", (28, 28))
    pixels = read_array(save(image), image_size=28, color_mode="grayscale", max_pixels=PIXELS)
    assert np.array_equal(pixels[..., 0], np.asarray(image))


def test_shrinking_averages_all_pixels():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    pixels = read_array(save(Image.fromarray(stripes)), image_size=8, color_mode="grayscale", max_pixels=PIXELS)
    assert 120 <= pixels.min() <= pixels.max() <= 135


def test_one_pixel_is_an_image():
    # A56: any size is accepted
    assert read_array(save(Image.new("L", (1, 1), 9)), image_size=4, color_mode="rgb", max_pixels=9).max() == 9


def test_same_bytes_give_the_same_array_from_many_threads():
    # A53
    data = save(gradient(size=(300, 200)), "JPEG")
    results = []

    def read():
        results.append(read_array(data, image_size=32, color_mode="rgb", max_pixels=PIXELS).tobytes())

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1


def test_color_mode_follows_the_decoded_form():
    assert color_mode_of(gradient("L")) == "grayscale"
    assert color_mode_of(gradient()) == "rgb"


def test_memory_that_runs_out_is_the_images_fault(monkeypatch):
    # A48
    def fail(*_args, **_options):
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(InvalidError) as error:
        decode(save(gradient(), "BMP"), max_pixels=PIXELS)
    assert error.value.code == "image_too_large"
