"""What an image file carries beside its pixels: frames, and metadata. Both are bounded before any of it is decoded.

A reader of images goes through all of a file's parts, takes the metadata into memory, and follows from one directory to
the next; so a file of few pixels can keep it busy. This looks at lengths alone, and passes over what they span.
Whatever is broken here is left to the decoder, which refuses it with its own reasons.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Final, Literal

from core.errors import InvalidError

MAX_FRAMES: Final = 1000
"""Most frames of an animation or pages of a TIFF; the first alone is used."""
MAX_METADATA_BYTES: Final = 8 * 2**20
"""Most bytes of texts, profiles, EXIF and the like."""
_MOST_PARTS = 1_000_000

Part = tuple[Literal["frame", "metadata", "pixels"], int]
"""What a part of a file is, and its bytes."""


def check_structure(data: bytes) -> None:
    """Refuse an image file with too many frames, too much metadata, or too many parts of any kind.

    Raises:
        InvalidError: ``image_too_large``; ``unreadable_image`` where it leads in a circle.
    """
    walk = next((walk for signature, walk in _WALKS if data.startswith(signature)), None)
    frames = metadata_bytes = 0
    for count, (kind, size) in enumerate(walk(data) if walk else ()):
        frames += kind == "frame"
        metadata_bytes += size if kind == "metadata" else 0
        if frames > MAX_FRAMES:
            raise InvalidError(f"The image has more than {MAX_FRAMES:,} frames.", code="image_too_large")
        if metadata_bytes > MAX_METADATA_BYTES or count > _MOST_PARTS:
            raise InvalidError("The image has too much metadata, or too many parts.", code="image_too_large")


def _walk_png(data: bytes) -> Iterator[Part]:
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        place += 12 + length
        if kind == b"fcTL":
            yield "frame", 0
        elif kind == b"IEND":
            return
        else:
            yield "pixels" if kind in (b"IDAT", b"fdAT", b"PLTE", b"tRNS") else "metadata", length


def _walk_jpeg(data: bytes) -> Iterator[Part]:
    """Yield the segments before the first scan; what follows it is pixels, or another file that is not read."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xDA:
            return
        if marker == 0xFF:  # padding
            place += 1
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        yield "metadata" if 0xE0 <= marker <= 0xEF or marker == 0xFE else "pixels", length
        place += 2 + max(2, length)


def _walk_gif(data: bytes) -> Iterator[Part]:
    place = 13 + _color_table_bytes(data[10:11])
    while place < len(data):
        kind = data[place]
        if kind == 0x21:
            place += 2
        elif kind == 0x2C:
            yield "frame", 0
            place += 11 + _color_table_bytes(data[place + 9 : place + 10])
        else:
            return
        while place < len(data) and (length := data[place]):
            yield "metadata" if kind == 0x21 else "pixels", length
            place += 1 + length
        place += 1


def _color_table_bytes(flags: bytes) -> int:
    """Return the length of the colour table that the flags of a screen or frame announce."""
    return 3 << (1 + (flags[0] & 7)) if flags and flags[0] & 0x80 else 0


def _walk_webp(data: bytes) -> Iterator[Part]:
    place = 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        place += 8 + length + length % 2
        if kind == b"ANMF":
            yield "frame", 0
        else:
            yield "pixels" if kind in (b"VP8 ", b"VP8L", b"ALPH") else "metadata", length


_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
# Where strips and tiles are and how long, and the colours of a palette.
_TIFF_PIXELS = frozenset([273, 279, 320, 324, 325])


def _walk_tiff(data: bytes) -> Iterator[Part]:
    order: Literal["<", ">"] = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    # Numbers of the head: where the first directory is; of a directory: entries, and per entry tag, type, count.
    place_form, count_form, entry_form, entry_bytes = ("Q", "Q", "2HQ", 20) if is_big else ("I", "H", "2HI", 12)
    next_place, seen = 8 if is_big else 4, set[int]()
    while True:
        found = _unpack(order + place_form, data, next_place)
        if not found or not found[0]:
            return
        place = found[0]
        if place in seen:
            raise InvalidError("The image cannot be read: its directories lead in a circle.", code="unreadable_image")
        seen.add(place)
        yield "frame", 0
        count = _unpack(order + count_form, data, place)
        if not count:
            return
        place += struct.calcsize(order + count_form)
        for number in range(count[0]):
            entry = _unpack(order + entry_form, data, place + number * entry_bytes)
            if not entry:
                return
            tag, kind, items = entry
            yield "pixels" if tag in _TIFF_PIXELS else "metadata", items * _TIFF_SIZES.get(kind, 1)
        next_place = place + count[0] * entry_bytes


def _unpack(form: str, data: bytes, place: int) -> tuple[int, ...] | None:
    """Return the numbers at a place, or ``None`` where the file ends before."""
    return struct.unpack_from(form, data, place) if place + struct.calcsize(form) <= len(data) else None


_WALKS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[bytes], Iterator[Part]]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _walk_png),
    (b"\xff\xd8", _walk_jpeg),
    ((b"GIF87a", b"GIF89a"), _walk_gif),
    (b"RIFF", _walk_webp),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _walk_tiff),
)
