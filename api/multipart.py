"""Forms of files, read part by part as they come: nothing is written to a disk on the way."""

import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from flask import Request
from werkzeug.http import parse_options_header

from api.bodies import CHUNK_BYTES
from core.errors import Fault, InvalidError, TooLargeError, UnreadableError

_LONGEST_BOUNDARY = 200
_LONGEST_HEADERS_BYTES = 2**14
# Room for a large piece is asked of the system anew each time, which takes longer than a small form needs.
_SMALL_BYTES = 2**15
_BEHIND_BOUNDARY = re.compile(rb"--|[ \t]{0,64}\r\n")
# What nearly all clients write, which leaves nothing to unquote; the general reader takes most of a small part's time.
_PLAIN_HEADERS = re.compile(
    rb'content-disposition: form-data; name="([^"\\%\r\n]*)"(?:; filename="([^"\\%\r\n]*)")?'
    rb"(?:\r\ncontent-type: [^\r\n]*)?",
    re.IGNORECASE,
)
_UNCLEAR = re.compile(rb"(-|[ \t]{0,64}\r?)\Z")


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
            data, goes_on = self._form.next_data()
            self._held, self._ended = memoryview(data), not goes_on
        piece, self._held = self._held[: len(buffer)], self._held[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)

    def pass_over(self) -> None:
        """Read what is left, to no use; raises as `readinto`."""
        while not self._ended:
            self._ended = not self._form.next_data()[1]

    def readall(self) -> bytes:
        """Return all that is left; raises as `readinto`.

        In one growing buffer, which the system takes back whole: the base's many small pieces would stay with the
        process, a request's worth for each thread.
        """
        content = bytearray(self._held)
        self._held = memoryview(b"")
        while not self._ended:
            data, goes_on = self._form.next_data()
            content += data
            self._ended = not goes_on
        return bytes(content)


class Form:
    """A ``multipart/form-data`` body (RFC 7578), its lines ended by CRLF as every client ends them.

    It looks for the boundary as plain bytes: a pattern made of it would have to be compiled for each request, which
    takes longer than the rest of a small one.

    Args:
        body: The request's body.
        boundary: What stands between parts.
        most_parts: How many parts there may be.
    """

    def __init__(self, body: BinaryIO, boundary: bytes, *, most_parts: int) -> None:
        self._body = body
        self._mark = b"\r\n--" + boundary
        # As if a line had ended just now: the first boundary is then one like the others.
        self._held = bytearray(b"\r\n")
        self._start = 0
        self._parts_left = most_parts
        self._is_over = False
        self._piece_bytes = _SMALL_BYTES

    def read_parts(self) -> Iterator[Part]:
        """Yield the parts; each must be read before the next is asked for, its rest is passed over.

        Raises:
            UnreadableError: The form is broken or was cut short.
            TooLargeError: It has too many parts, or endless headers.
        """
        while self.next_data()[1]:
            pass  # What stands before the first boundary means nothing,
        while not self._is_over:
            part = Part(self, *self._read_names())
            yield part
            part.pass_over()
        while self._body.read(_SMALL_BYTES):
            pass  # nor does what stands behind the last; yet the body has to come to its end.

    def next_data(self) -> tuple[bytes, bool]:
        """Return the next piece of the present part, and whether there is more of it."""
        while True:
            size, behind = self._find_end()
            if behind is not None or size > self._start:
                piece, end = bytes(self._held[self._start : size]), size
                if behind is not None:
                    end, self._is_over = behind.end(), behind.group() == b"--"
                del self._held[:end]
                self._start = 0
                return piece, behind is None
            self._fill()

    def _find_end(self) -> tuple[int, re.Match[bytes] | None]:
        """Return how many of the bytes at hand are the part's, and what stands behind the boundary, if that is there.

        A boundary that something else follows is none, but some bytes of the part that look like one.
        """
        at = -1
        while (at := self._held.find(self._mark, at + 1)) >= 0:
            start = at + len(self._mark)
            if behind := _BEHIND_BOUNDARY.match(self._held, start):
                return at, behind
            if _UNCLEAR.match(self._held, start):
                return at, None
        return max(0, len(self._held) - len(self._mark) + 1), None

    def _read_names(self) -> tuple[str, str]:
        """Return the names of the field and of the file that a part's headers tell."""
        self._parts_left -= 1
        if self._parts_left < 0:
            raise TooLargeError("The form has more parts than are allowed.")
        while (size := self._held.find(b"\r\n\r\n", 0, _LONGEST_HEADERS_BYTES)) < 0:
            if len(self._held) >= _LONGEST_HEADERS_BYTES:
                raise TooLargeError("The form has longer headers than are allowed.")
            self._fill()
        names = _parse_names(bytes(self._held[:size]))
        # The line break that ends the headers begins the boundary too, where the part is empty.
        self._start = 2
        del self._held[: size + 2]
        return names

    def _fill(self) -> None:
        piece = self._body.read(self._piece_bytes)
        if not piece:
            raise _broken()
        self._held += piece
        self._piece_bytes = CHUNK_BYTES


def _parse_names(headers: bytes) -> tuple[str, str]:
    try:
        if plain := _PLAIN_HEADERS.fullmatch(headers):
            name, filename = plain.groups(b"")
            return name.decode(), filename.decode()
        _, options = parse_options_header(_find_disposition(headers).decode())
    except UnicodeDecodeError as error:
        raise _broken() from error
    return options.get("name", ""), options.get("filename", "")


def _find_disposition(headers: bytes) -> bytes:
    found: bytes | None = None
    for line in headers.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon:
            raise _broken()
        if name.strip().lower() == b"content-disposition":
            found = value
    if found is None:
        raise _broken()
    return found


def _broken() -> UnreadableError:
    return UnreadableError("The form is broken, or ends too early.")


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
