"""What an API process and its decoders say to each other over a socket, in frames of a fixed head and a body."""

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from core.domain.datasets import ColorMode

REQUEST_HEAD: Final = struct.Struct(">HIBQd")
FILE_HEAD: Final = struct.Struct(">I")
ANSWER_HEAD: Final = struct.Struct(">BI")
PIXELS, REFUSAL, READY = range(3)
CHANNELS: Final[dict[int, ColorMode]] = {1: "grayscale", 3: "rgb"}


class Request(NamedTuple):
    """The head of what a decoder is asked; the image files follow, each after its length. They are answered together.

    Attributes:
        files: How many there are.
        image_size: Side of the square that is wanted, in pixels.
        channels: 1 for gray, 3 for colours.
        max_pixels: Most pixels of a stored image.
        cpu_seconds: How long it may compute for all of them.
    """

    files: int
    image_size: int
    channels: int
    max_pixels: int
    cpu_seconds: float

    @property
    def pixel_bytes(self) -> int:
        """Return how many bytes the pixels of one image take."""
        return self.image_size**2 * self.channels


class Answer(NamedTuple):
    """What a decoder says of an image: a kind, of those above, and its bytes (pixels, or JSON)."""

    kind: int
    content: bytes


def read_exactly(receive: Callable[[int], bytes | memoryview], count: int) -> bytes:
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
