"""Plain PNG and JPEG files: those that Pillow's decoders can be given without its slower way of reading headers.

Opening such a file takes Pillow longer than decoding a few hundred pixels. Whatever is unusual here, or broken, is
no plain file, and is left to Pillow as a whole; so this reads the headers of good files alone, and strictly.
"""

import re
import struct
import zlib
from functools import lru_cache
from typing import NamedTuple

_PNG_HEAD = re.compile(rb"\x89PNG\r\n\x1a\n\0\0\0\rIHDR(.{4})(.{4})\x08([\0\x02])\0\0\0(.{4})", re.DOTALL)
_PNG_HEAD_BYTES, _IHDR_START = 33, 12
_PNG_MODES = {b"\0": "L", b"\2": "RGB"}
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_PNG_CHUNKS = frozenset([b"IDAT", b"pHYs", b"gAMA", b"sRGB", b"cHRM", b"tIME", b"bKGD"])
_JPEG_MODES = {1: "L", 3: "RGB"}
_JPEG_START, _JPEG_SCAN = b"\xff\xd8", b"\xff\xda"
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
_JPEG_MARKERS = frozenset([0xC4, 0xDB, 0xDD, 0xE0, 0xFE])
_MOST_HEAD_BYTES = 4096
_chunk_start = struct.Struct(">I4s")


class PlainForm(NamedTuple):
    """What plain files have in common that can be decoded together.

    Attributes:
        mode: ``L`` or ``RGB``.
        size: Width and height in pixels.
        decoder: Pillow's name of the decoder, ``zip`` or ``jpeg``.
    """

    mode: str
    size: tuple[int, int]
    decoder: str

    @property
    def decoder_options(self) -> tuple[str, ...]:
        """Return what Pillow's decoder wants to be told beside the mode of the image: that of the file."""
        return (self.mode, "") if self.decoder == "jpeg" else (self.mode,)


def read_plain(data: bytes) -> tuple[PlainForm, bytes] | None:
    """Return the form of a plain file, and what its decoder takes; ``None`` where the file is anything else.

    Plain are an 8-bit gray or RGB PNG without interlacing, transparency and metadata that could matter, and a gray or
    YCbCr JPEG without EXIF, profiles and the like.
    """
    if data.startswith(_JPEG_START):
        form = _read_jpeg_head(data[: data.find(_JPEG_SCAN, 2, _MOST_HEAD_BYTES) + len(_JPEG_SCAN)])
        return (form, data) if form else None
    form = _read_png_head(data[:_PNG_HEAD_BYTES])
    packed = _read_png_content(data) if form else None
    return (form, packed) if form and packed is not None else None


@lru_cache(maxsize=256)
def _read_png_head(head: bytes) -> PlainForm | None:
    """Return the form that a PNG's first bytes state: signature, header and the header's checksum."""
    match = _PNG_HEAD.fullmatch(head)
    if match is None or zlib.crc32(head[_IHDR_START:-4]).to_bytes(4, "big") != match[4]:
        return None
    width, height = (int.from_bytes(side, "big") for side in match.group(1, 2))
    return PlainForm(_PNG_MODES[match[3]], (width, height), "zip")


def _read_png_content(data: bytes) -> bytes | None:
    """Return the packed pixels of a PNG whose every chunk is harmless and has its right checksum."""
    position, pieces = _PNG_HEAD_BYTES, []
    while not data.startswith(_PNG_END, position):
        if position + 12 > len(data):
            return None
        length, kind = _chunk_start.unpack_from(data, position)
        end = position + 8 + length
        if kind not in _PNG_CHUNKS or data[end : end + 4] != zlib.crc32(data[position + 4 : end]).to_bytes(4, "big"):
            return None
        if kind == b"IDAT":
            pieces.append(data[position + 8 : end])
        position = end + 4
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@lru_cache(maxsize=256)
def _read_jpeg_head(head: bytes) -> PlainForm | None:
    """Return the form that a JPEG's segments state; the scan has to begin at the end of ``head``.

    Files of one camera or program have equal heads, so most are known already.
    """
    position, form = len(_JPEG_START), None
    while position + 10 < len(head) and head[position] == 0xFF:
        marker = head[position + 1]
        if marker in _JPEG_FRAMES and form is None:
            precision, height, width, channels = struct.unpack_from(">B2HB", head, position + 4)
            if precision != 8 or channels not in _JPEG_MODES:
                return None
            form = PlainForm(_JPEG_MODES[channels], (width, height), "jpeg")
        elif marker not in _JPEG_MARKERS:
            return None
        position += 2 + int.from_bytes(head[position + 2 : position + 4], "big")
    return form if head[position:] == _JPEG_SCAN else None
