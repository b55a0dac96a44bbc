"""A writer of ZIPs that writes whatever lies it is asked for, byte by byte."""

import struct
import zlib
from dataclasses import dataclass, field


@dataclass
class Entry:
    """An entry of a ZIP; every number that is set overrides what would be true."""

    name: str | bytes
    content: bytes = b"x"
    method: int = 0
    flags: int = 0
    local_flags: int | None = None
    local_name: str | bytes | None = None
    local_method: int | None = None
    local_sizes: tuple[int, int] | None = None
    data: bytes | None = None
    size: int | None = None
    packed: int | None = None
    checksum: int | None = None
    start: int | None = None
    attributes: int = 0
    extra: bytes = b""
    disk: int = 0


@dataclass
class ZipWriter:
    """Writes a ZIP byte by byte."""

    entries: list[Entry] = field(default_factory=list)
    before: bytes = b""
    after: bytes = b""
    comment: bytes = b""
    count: int | None = None
    end_entries: int | None = None
    end_start: int | None = None
    end_size: int | None = None
    with_zip64: bool = False
    zip64_entries: int | None = None
    zip64_place: int | None = None

    def write(self) -> bytes:
        out = bytearray(self.before)
        records = []
        for entry in self.entries:
            records.append(self._central(entry, len(out)))
            out += self._local(entry)
        start, directory = len(out), b"".join(records)
        out += directory
        count = len(self.entries) if self.count is None else self.count
        if self.with_zip64:
            place = len(out) if self.zip64_place is None else self.zip64_place
            entries = count if self.zip64_entries is None else self.zip64_entries
            out += struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, len(directory), start)
            out += struct.pack("<4sLQL", b"PK\6\7", 0, place, 1)
        given = count if self.end_entries is None else self.end_entries
        size = len(directory) if self.end_size is None else self.end_size
        out += struct.pack(
            "<4s4H2LH",
            b"PK\5\6",
            0,
            0,
            given,
            given,
            size,
            start if self.end_start is None else self.end_start,
            len(self.comment),
        )
        return bytes(out + self.comment + self.after)

    def _data(self, entry: Entry) -> bytes:
        if entry.data is not None:
            return entry.data
        if entry.method != 8:
            return entry.content
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(entry.content) + packer.flush()

    def _numbers(self, entry: Entry) -> tuple[int, int, int]:
        data = self._data(entry)
        return (
            zlib.crc32(entry.content) if entry.checksum is None else entry.checksum,
            len(data) if entry.packed is None else entry.packed,
            len(entry.content) if entry.size is None else entry.size,
        )

    def _local(self, entry: Entry) -> bytes:
        name = _encode(entry.name if entry.local_name is None else entry.local_name)
        flags = entry.flags if entry.local_flags is None else entry.local_flags
        method = entry.method if entry.local_method is None else entry.local_method
        checksum, packed, size = self._numbers(entry)
        if entry.local_sizes is not None:
            packed, size = entry.local_sizes
        head = struct.pack("<4s5H3L2H", b"PK\3\4", 20, flags, method, 0, 0, checksum, packed, size, len(name), 0)
        return head + name + self._data(entry)

    def _central(self, entry: Entry, start: int) -> bytes:
        name = _encode(entry.name)
        start = start if entry.start is None else entry.start
        return (
            struct.pack(
                "<4s6H3L5H2L",
                b"PK\1\2",
                3 << 8 | 20,
                20,
                entry.flags,
                entry.method,
                0,
                0,
                *self._numbers(entry),
                len(name),
                len(entry.extra),
                0,
                entry.disk,
                0,
                entry.attributes,
                start,
            )
            + name
            + entry.extra
        )


def _encode(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode()
