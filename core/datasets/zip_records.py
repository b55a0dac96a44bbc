"""The records of a ZIP's central directory, a block at a time: nearly all are plain, which is told for all at once."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.datasets.members import StructureError

RECORD_BYTES = 46
RECORD_SIGNATURE = b"PK\1\2"
_BLOCK = 1 << 20
_LENGTHS, _LENGTHS_PLACE = struct.Struct("<3H"), 28
_FIELDS = np.dtype(
    {
        "names": ["flags", "method", "checksum", "packed", "size", "name", "disk", "attributes", "start"],
        "formats": ["<u2", "<u2", "<u4", "<u4", "<u4", "<u2", "<u2", "<u4", "<u4"],
        "offsets": [8, 10, 16, 20, 24, 28, 34, 38, 42],
        "itemsize": RECORD_BYTES,
    }
)


@dataclass(frozen=True)
class Record:
    """One record: its fields as APPNOTE 4.3.12 has them, as yet unchecked."""

    flags: int
    method: int
    checksum: int
    packed: int
    size: int
    disk: int
    attributes: int
    start: int
    raw_name: bytes
    extra: bytes


@dataclass(frozen=True)
class RecordBlock:
    """Consecutive whole records: a piece of the directory, and where in it each begins."""

    data: bytes
    places: list[int]

    def read_fields(self) -> npt.NDArray[np.void]:
        """Return the fixed fields of every record."""
        places = np.array(self.places, np.int64)[:, np.newaxis] + np.arange(RECORD_BYTES)
        fields: npt.NDArray[np.void] = np.frombuffer(self.data, np.uint8)[places].view(_FIELDS)[:, 0]
        return fields

    def read_names(self, lengths: list[int]) -> list[bytes]:
        """Return the name of every record, given the lengths of all."""
        return [
            self.data[place + RECORD_BYTES : place + RECORD_BYTES + length]
            for place, length in zip(self.places, lengths, strict=True)
        ]

    def __iter__(self) -> Iterator[Record]:
        fields = self.read_fields()
        for place, row in zip(self.places, fields.tolist(), strict=True):
            flags, method, checksum, packed, size, name_length, disk, attributes, start = row
            name_end = place + RECORD_BYTES + name_length
            extra_length = _LENGTHS.unpack_from(self.data, place + _LENGTHS_PLACE)[1]
            yield Record(
                flags=flags,
                method=method,
                checksum=checksum,
                packed=packed,
                size=size,
                disk=disk,
                attributes=attributes,
                start=start,
                raw_name=self.data[place + RECORD_BYTES : name_end],
                extra=self.data[name_end : name_end + extra_length],
            )


def iterate_blocks(file: int, start: int, size: int) -> Iterator[RecordBlock]:
    """Yield the records of the directory that stands in ``size`` bytes from ``start`` of an open file.

    Raises:
        StructureError: There is something else; what came before was yielded.
    """
    rest, position, end = b"", start, start + size
    while position < end:
        piece = os.pread(file, min(_BLOCK, end - position), position)
        if not piece:
            raise StructureError("the central directory is cut short")
        position += len(piece)
        block, used, fault = _find_records(rest + piece, is_last=position == end)
        yield block
        if fault:
            raise StructureError(fault)
        rest = block.data[used:]


def _find_records(data: bytes, *, is_last: bool) -> tuple[RecordBlock, int, str | None]:
    """Return the whole records that ``data`` begins with, their bytes, and what is wrong behind them."""
    places, used, fault = [], 0, None
    while used < len(data):
        is_whole = used + RECORD_BYTES <= len(data)
        if not data.startswith(RECORD_SIGNATURE, used) if is_whole else is_last:
            fault = "the central directory has something that is no entry"
            break
        next_place = used + RECORD_BYTES
        if is_whole:
            next_place += sum(_LENGTHS.unpack_from(data, used + _LENGTHS_PLACE))
        if next_place > len(data):
            fault = "the last entry of the central directory is cut short" if is_last else None
            break
        places.append(used)
        used = next_place
    return RecordBlock(data, places), used, fault
