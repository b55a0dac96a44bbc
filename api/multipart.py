"""Forms of files, read part by part as they come: nothing is written to a disk on the way."""

import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Event, Field, File, MultipartDecoder, NeedData

from api.bodies import CHUNK_BYTES
from core.errors import Fault, InvalidError, TooLargeError, UnreadableError

_LONGEST_BOUNDARY = 200
_LONGEST_HEADERS_BYTES = 2**18
_MORE_BYTES = 64


class Part(io.RawIOBase):
    """One part of a form: its field's name, its file's name, and its bytes as a stream."""

    def __init__(self, form: "Form", name: str, filename: str) -> None:
        self.name = name
        self.filename = filename
        self._form = form
        self._held = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the base takes any buffer
        """Read some bytes; raises what `Form.read_parts` does."""
        while not self._held and not self._ended:
            data = self._form.next_data()
            self._held, self._ended = memoryview(data.data), not data.more_data
        piece, self._held = self._held[: len(buffer)], self._held[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


class Form:
    """A ``multipart/form-data`` body.

    Args:
        body: The request's body.
        boundary: What stands between parts.
        most_parts: How many parts there may be.
    """

    def __init__(self, body: BinaryIO, boundary: bytes, *, most_parts: int) -> None:
        self._body = body
        # The decoder holds what it was given last, and what it could not yet make anything of.
        most_held_bytes = CHUNK_BYTES + _LONGEST_HEADERS_BYTES
        self._decoder = MultipartDecoder(boundary, most_held_bytes, max_parts=most_parts)
        self._unclear = re.compile(rb"--" + re.escape(boundary) + rb"[ \t]{0,64}-?\Z")
        self._end_bytes = len(boundary) + 70
        self._end = b""

    def read_parts(self) -> Iterator[Part]:
        """Yield the parts; each must be read before the next is asked for, its rest is passed over.

        Raises:
            UnreadableError: The form is broken or was cut short.
            TooLargeError: It has too many parts, or endless headers.
        """
        while not self._decoder.complete:
            event = self._next_event()
            if isinstance(event, File | Field):
                part = Part(self, event.name or "", (event.filename if isinstance(event, File) else None) or "")
                yield part
                while part.read(CHUNK_BYTES):
                    pass

    def next_data(self) -> Data:
        """Return the next piece of the present part."""
        event = self._next_event()
        if not isinstance(event, Data):
            raise UnreadableError("The form is broken.")
        return event

    def _next_event(self) -> Event:
        try:
            while isinstance(event := self._decoder.next_event(), NeedData):
                self._decoder.receive_data(self._read_piece() or None)
        except ValueError as error:
            raise UnreadableError("The form is broken, or ends too early.") from error
        except RequestEntityTooLarge as error:
            raise TooLargeError("The form has more parts, or longer headers, than are allowed.") from error
        return event

    def _read_piece(self) -> bytes:
        """Return the next piece of the body, never one that ends just behind a boundary.

        The decoder would take a line break before such a boundary for the file's.
        """
        piece = self._body.read(CHUNK_BYTES)
        while self._unclear.search(self._end + piece[-self._end_bytes :]) and (more := self._body.read(_MORE_BYTES)):
            piece += more
        self._end = (self._end + piece[-self._end_bytes :])[-self._end_bytes :]
        return piece


class OnlyFile(io.RawIOBase):
    """The bytes of the one file that a form may hold; its end comes only once the whole form has proved right.

    Attributes:
        filename: As the client named it.

    Raises:
        InvalidError: The form does not begin with a file in that field.
    """

    def __init__(self, form: Form, field: str) -> None:
        self._field = field
        self._parts = form.read_parts()
        part = next(self._parts, None)
        if part is None:
            raise InvalidError("The form has no file.", faults=[Fault(f"/{field}", "is missing")])
        self._check(part, first=True)
        self._part = part
        self.filename = part.filename

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the base takes any buffer
        """Read some bytes; raises as `Form.read_parts`, and `InvalidError` for a second part."""
        count = self._part.readinto(buffer)
        if not count and len(buffer):
            for part in self._parts:
                self._check(part, first=False)
        return count

    def _check(self, part: Part, *, first: bool) -> None:
        if part.name != self._field:
            raise InvalidError("The form has an unknown field.", faults=[Fault(f"/{part.name}", "is not known")])
        if not first:
            raise InvalidError("The form has more than one file.", faults=[Fault(f"/{part.name}", "stands twice")])


def open_form(request: Request, body: BinaryIO, *, most_parts: int) -> Form:
    """Return the form that a request sends; raises `UnreadableError` where its boundary is missing."""
    boundary = request.mimetype_params.get("boundary", "")
    if not boundary or len(boundary) > _LONGEST_BOUNDARY or not boundary.isascii():
        raise UnreadableError("The form has no boundary.")
    return Form(body, boundary.encode(), most_parts=most_parts)
