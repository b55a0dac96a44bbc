"""Tar archives: regular files of the ustar, GNU and pax forms, and nothing else.

Python's ``tarfile`` is not used: it keeps an object of a kilobyte for each entry, and reads extension headers of
any declared size into memory.
"""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from core.datasets.limits import ArchiveLimits
from core.datasets.members import Beat, FaultList, Member, Members, MemberTable, ReadAt, StructureError
from core.datasets.names import find_name_fault, tidy_name

BLOCK = 512
_MOST_EXTENSION_BYTES = 1 << 20
_PIECE = 1 << 20
_FILES = (b"0", b"\0", b"7")
_FOLDER, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"5", b"L", b"K", b"x", b"g"
_GZIP = zlib.MAX_WBITS | 16
_REFUSED = {
    b"1": "the entry is a hard link",
    b"2": "the entry is a symbolic link",
    b"3": "the entry is a device",
    b"4": "the entry is a device",
    b"6": "the entry is a pipe",
    b"S": "the entry is a sparse file",
}


@dataclass
class _Pending:
    """What extension headers say of the entry that follows them."""

    name: bytes | None = None
    size: int | None = None
    faults: list[str] = field(default_factory=list)


def looks_like_tar(block: bytes) -> bool:
    """Tell whether a first block is a tar header: its checksum holds."""
    if len(block) < BLOCK or not any(block):
        return False
    try:
        return _read_number(block[148:156]) == _sum_header(block)
    except StructureError:
        return False


def read_tar(file: int, size: int, *, limits: ArchiveLimits, beat: Beat) -> Members:
    """Return the members of the tar in the open file descriptor.

    Args:
        file: The descriptor.
        size: Bytes of the file.
        limits: What the archive has to keep.
        beat: Called for each entry, to show that it goes on.

    Raises:
        DatasetRejectedError: With every fault that was found.
    """
    faults = FaultList()
    table = MemberTable(limits, faults)
    try:
        for header, start, length, pending in _iterate_headers(file, size):
            beat()
            _take_header(header, start, length, pending=pending, table=table, faults=faults)
    except StructureError as error:
        faults.add("", error.detail)
    if not len(table) and not faults:
        faults.add("", "the archive is empty")
    members = table.finish(end=size)
    faults.raise_any()
    return members


def _iterate_headers(file: int, size: int) -> Iterator[tuple[bytes, int, int, _Pending]]:
    """Yield header, place and length of the content, and extensions of each entry."""
    position, pending = 0, _Pending()
    while True:
        header = os.pread(file, BLOCK, position)
        if len(header) < BLOCK:
            raise StructureError("the archive is cut short")
        if not any(header):
            break
        if _read_number(header[148:156]) != _sum_header(header):
            raise StructureError("the archive has a header that is damaged")
        kind, start, length = header[156:157], position + BLOCK, _read_number(header[124:136])
        if kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
            _read_extension(file, kind, start, length, pending=pending)
        else:
            length = length if pending.size is None else pending.size
            yield header, start, length, pending
            pending = _Pending()
            length = length if kind in _FILES else 0
        position = start + -(-length // BLOCK) * BLOCK
        if start + length > size:
            raise StructureError("the archive is cut short")
    if _has_content(file, position, size):
        raise StructureError("other data follows the end of the archive")


def _has_content(file: int, position: int, size: int) -> bool:
    return any(any(os.pread(file, _PIECE, place)) for place in range(position, size, _PIECE))


def _read_extension(file: int, kind: bytes, start: int, length: int, *, pending: _Pending) -> None:
    if length > _MOST_EXTENSION_BYTES:
        raise StructureError("the archive has an extension header that is too long")
    content = os.pread(file, length, start)
    if len(content) < length:
        raise StructureError("the archive is cut short")
    if kind == _LONG_NAME:
        pending.name = content.removesuffix(b"\0")
    elif kind in (_PAX, _PAX_GLOBAL):
        records = dict(_iterate_pax(content))
        if kind == _PAX_GLOBAL and not records.keys().isdisjoint({b"path", b"size"}):
            raise StructureError("the archive sets one name or size for all entries")
        pending.name = records.get(b"path", pending.name)
        if b"size" in records:
            pending.size = _read_decimal(records[b"size"])
        if any(key.startswith(b"GNU.sparse") for key in records):
            pending.faults.append(_REFUSED[b"S"])


def _iterate_pax(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of each ``length key=value`` line; the length counts the whole line."""
    position = 0
    while position < len(content) and content[position]:
        digits, _, _ = content[position : position + 20].partition(b" ")
        end = position + _read_decimal(digits)
        line = content[position + len(digits) + 1 : end]
        key, separator, value = line.partition(b"=")
        if not separator or not line.endswith(b"\n") or end > len(content):
            raise StructureError("the archive has an extension header that is damaged")
        yield key, value[:-1]
        position = end


def _take_header(
    header: bytes, start: int, length: int, *, pending: _Pending, table: MemberTable, faults: FaultList
) -> None:
    kind = header[156:157]
    raw = pending.name if pending.name is not None else _read_short_name(header)
    try:
        name = tidy_name(raw.decode())
        fault = find_name_fault(name)
    except UnicodeDecodeError:
        name, fault = raw.decode("cp437"), "the name is not valid UTF-8"
    is_folder = kind == _FOLDER or (kind in _FILES and name.endswith("/"))
    reasons = [*pending.faults, *([fault] if fault else [])]
    if kind not in (*_FILES, _FOLDER):
        reasons.append(_REFUSED.get(kind, "the entry is of an unknown kind"))
    if is_folder and length:
        reasons.append("a folder has content")
    for reason in reasons:
        faults.add(name, reason)
    name = name.removesuffix("/") + "/" if is_folder else name
    table.add(name, start=start, packed=length, size=length, is_folder=is_folder)


def _read_short_name(header: bytes) -> bytes:
    """Return the name of the fixed fields; the ustar form has a prefix."""
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _read_number(text: bytes) -> int:
    """Return an octal number, or one in GNU's base-256 form."""
    if text[0] == 0x80:
        number = int.from_bytes(text[1:], "big")
    else:
        digits = text.strip(b" \0")
        if digits.strip(b"01234567"):
            raise StructureError("the archive has a header that is damaged")
        number = int(digits or b"0", 8)
    if number >= 1 << 62:
        raise StructureError("the archive has an impossible size")
    return number


def _read_decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 18:
        raise StructureError("the archive has an extension header that is damaged")
    return int(digits)


def _sum_header(block: bytes) -> int:
    return sum(block) - sum(block[148:156]) + 8 * ord(" ")


def read_member(read_at: ReadAt, member: Member, *, with_content: bool) -> bytes:
    """Return the content of a member; without ``with_content`` nothing is read.

    Raises:
        StructureError: The archive is shorter than it was.
    """
    content = read_at(member.start, member.packed) if with_content else b""
    if with_content and len(content) != member.size:
        raise StructureError("the archive is cut short")
    return content


def gunzip(archive: Path, target: Path, *, limits: ArchiveLimits, beat: Beat) -> None:
    """Unpack a gzip file under the limits on bytes and ratio, which are counted as it grows.

    Raises:
        StructureError: It is damaged, other data follows it, or it unpacks to more than allowed.
    """
    given = 0
    most_bytes = limits.total_bytes + limits.entries * 3 * BLOCK  # headers and padding come on top of the contents
    with archive.open("rb") as source, target.open("wb") as plain:
        for piece in _inflate(source):
            given += len(piece)
            beat()
            if given > most_bytes:
                raise StructureError(f"the archive unpacks to more than {limits.total_bytes:,} bytes")
            if given > limits.ratio_free_bytes and given > source.tell() * limits.ratio:
                raise StructureError(f"the archive unpacks to more than {limits.ratio:g} times its size")
            plain.write(piece)


def _inflate(source: BinaryIO) -> Iterator[bytes]:
    """Yield the content of one gzip member after the other, a megabyte at most at a time."""
    inflater, data = zlib.decompressobj(_GZIP), source.read(_PIECE)
    try:
        while data:
            piece = inflater.decompress(data, _PIECE)
            yield piece
            data = inflater.unconsumed_tail
            if inflater.eof:
                data = (inflater.unused_data + source.read(_PIECE)).lstrip(b"\0")  # some pad the end with zeros
                if data:
                    inflater = zlib.decompressobj(_GZIP)
            elif not data:  # What it has not given yet comes with the next piece: the end of a member is no content.
                data = source.read(_PIECE)
    except zlib.error as error:
        raise StructureError("the archive is damaged, or other data follows it: it cannot be inflated") from error
    if not inflater.eof:
        raise StructureError("the archive is cut short")
