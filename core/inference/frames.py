"""What an API process and its decoders say to each other over a socket, in frames of a fixed head and a body."""

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from core.domain.datasets import ColorMode

REQUEST_HEAD: Final = struct.Struct(">IIBQd")
ANSWER_HEAD: Final = struct.Struct(">BI")
PIXELS, REFUSAL, READY = range(3)
CHANNELS: Final[dict[int, ColorMode]] = {1: "grayscale", 3: "rgb"}


class Request(NamedTuple):
    """The head of what a decoder is asked; the file follows.

    Attributes:
        file_bytes: Length of the image file.
        image_size: Side of the square that is wanted, in pixels.
        channels: 1 for gray, 3 for colours.
        max_pixels: Most pixels of the stored image.
        cpu_seconds: How long it may compute.
    """

    file_bytes: int
    image_size: int
    channels: int
    max_pixels: int
    cpu_seconds: float


class Answer(NamedTuple):
    """What a decoder says: a kind, of those above, and its bytes (pixels, or JSON)."""

    kind: int
    content: bytes


def read_exactly(receive: Callable[[int], bytes], count: int) -> bytes:
    """Return so many bytes of a stream, of which ``receive`` gives some at a time.

    Raises:
        EOFError: It ended before.
    """
    pieces = bytearray()
    while len(pieces) < count:
        piece = receive(min(count - len(pieces), 1 << 20))
        if not piece:
            raise EOFError
        pieces += piece
    return bytes(pieces)
