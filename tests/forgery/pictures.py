"""Image files written byte by byte: what no encoder would write, and far more pixels than bytes."""

import io
import struct
import zlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

TURNED = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
"""EXIF that has a picture turned by a quarter."""
PNG = b"\x89PNG\r\n\x1a\n"


def draw(
    seed: int = 0, *, size: tuple[int, int] = (8, 8), mode: str = "L", image_format: str = "PNG", **options: object
) -> bytes:
    """Return a sound image file whose pixels follow from a seed."""
    channels = {"L": (), "RGB": (3,), "RGBA": (4,), "LA": (2,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), np.uint8)
    return encode(Image.fromarray(pixels), image_format, **options)


def encode(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    """Return an image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG, with its right checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    size: tuple[int, int] = (8, 8), *, before: Iterable[bytes] = (), pixels: bytes | None = None, color: int = 0
) -> bytes:
    """Return an 8-bit PNG, black unless ``pixels`` are given (packed), with other chunks before them."""
    width, height = size
    head = struct.pack(">2I5B", width, height, 8, color, 0, 0, 0)
    packed = pack_zeros(height * (1 + width * (3 if color == 2 else 1))) if pixels is None else pixels
    return PNG + b"".join([chunk(b"IHDR", head), *before, chunk(b"IDAT", packed), chunk(b"IEND", b"")])


def pack_zeros(count: int) -> bytes:
    """Return so many zeros as a zlib stream, without ever holding them."""
    packer, piece = zlib.compressobj(9), bytes(1 << 20)
    parts = [packer.compress(piece[: min(len(piece), count - done)]) for done in range(0, count, len(piece))]
    return b"".join([*parts, packer.flush()])


def apng(frames: int) -> bytes:
    """Return an animated PNG of so many frames of 8 × 8 pixels."""
    line = zlib.compress(bytes(8 * 9))
    pieces = [chunk(b"acTL", struct.pack(">2I", frames, 0))]
    for number in range(frames):
        about = struct.pack(">5I2H2B", 2 * number, 8, 8, 0, 0, 1, 1, 0, 0)
        pieces += [chunk(b"fcTL", about), chunk(b"fdAT", struct.pack(">I", 2 * number + 1) + line)]
    return png(before=pieces)


def gif(frames: int) -> bytes:
    """Return a GIF of so many frames of 2 × 2 pixels."""
    frame = b"\x2c" + struct.pack("<4HB", 0, 0, 2, 2, 0) + b"\x02\x03\x44\x34\x05\x00"
    return b"GIF89a" + struct.pack("<2H3B", 2, 2, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + frame * frames + b"\x3b"


def webp(frames: int) -> bytes:
    """Return an animated WebP of so many frames of 16 × 16 pixels."""
    still = encode(Image.new("RGB", (16, 16), "red"), "WEBP", lossless=True)[12:]
    size = (15).to_bytes(3, "little")
    frame = bytes(6) + size + size + (100).to_bytes(3, "little") + b"\0" + still
    extended = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + size + size
    animation = b"ANIM" + struct.pack("<I", 6) + bytes(6)
    body = extended + animation + (b"ANMF" + struct.pack("<I", len(frame)) + frame) * frames
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def tiff(next_directory: int, *, size: tuple[int, int] = (2, 2)) -> bytes:
    """Return a gray TIFF whose one directory stands at byte 12 and names ``next_directory`` as the next."""
    width, height = size
    values = [(256, 3, width), (257, 3, height), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    values += [(273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, 4)]
    entries = b"".join(struct.pack("<2HII", tag, kind, 1, value) for tag, kind, value in values)
    head = b"II*\0" + struct.pack("<I", 12) + bytes(4)
    return head + struct.pack("<H", len(values)) + entries + struct.pack("<I", next_directory)
