"""ZIP archives, read by the central directory with checks of our own (PKWARE's APPNOTE 6.3.10).

Python's ``zipfile`` is not used: it takes archives whose entries overlap, whose end records disagree or whose
names have two readings, and where two readers see two archives, a check of one is no check of the other.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.datasets.limits import ArchiveLimits
from core.datasets.members import (
    Beat,
    DamagedError,
    FaultList,
    Member,
    Members,
    MemberTable,
    ReadAt,
    StructureError,
)
from core.datasets.names import are_plain_names, find_name_fault, tidy_name
from core.datasets.zip_records import RECORD_BYTES, Record, RecordBlock, iterate_blocks

STORED, DEFLATED = 0, 8
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCAL = struct.Struct("<4s5H3L2H")
_END_SIGNATURE, _LOCATOR_SIGNATURE, _END64_SIGNATURE = b"PK\5\6", b"PK\6\7", b"PK\6\6"
LOCAL_SIGNATURE = b"PK\3\4"
_MAX_16, _MAX_32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED_FLAGS = 1 | 1 << 6 | 1 << 13
_DESCRIPTOR_FLAG, _PATCH_FLAG, _UTF8_FLAG = 1 << 3, 1 << 5, 1 << 11
_MOST_DEFLATE_RATIO = 1032


@dataclass(frozen=True)
class _Directory:
    """Where the central directory is, and how many entries it shall have."""

    start: int
    size: int
    entries: int


def read_zip(file: int, size: int, *, limits: ArchiveLimits, beat: Beat) -> Members:
    """Return the members of the ZIP in the open file descriptor.

    Everything that the central directory can tell is checked here; `read_member` checks the rest, each local
    header against its directory entry and each content against its declared size, when it reads it.

    Args:
        file: The descriptor.
        size: Bytes of the file.
        limits: What the archive has to keep.
        beat: Called for each entry, to show that it goes on.

    Raises:
        DatasetRejectedError: With every fault that was found.
    """
    faults = FaultList()
    try:
        directory = _find_directory(file, size)
    except StructureError as error:
        faults.add("", error.detail)
        faults.raise_any()
        raise
    _check_directory(directory, limits, faults)
    faults.raise_any()
    table = MemberTable(limits, faults)
    try:
        for block in iterate_blocks(file, directory.start, directory.size):
            beat()
            if not _take_plain_block(block, directory, table):
                for record in block:
                    beat()
                    _take_record(record, directory=directory, table=table, faults=faults)
    except StructureError as error:
        faults.add("", error.detail)
    if len(table) != directory.entries:
        faults.add("", f"the central directory has {len(table):,} entries and declares {directory.entries:,}")
    members = table.finish(end=directory.start)
    if not faults:  # else places are not to be trusted, and would add reasons that are none
        _check_places(members, faults)
    _check_ratio(members, limits, faults)
    faults.raise_any()
    return members


def _find_directory(file: int, size: int) -> _Directory:
    """Return the directory that the end record (and its ZIP64 twin) name; one reading only is accepted."""
    tail_start = max(0, size - _END.size - _MAX_16)
    tail = os.pread(file, size - tail_start, tail_start)
    last = tail.rfind(_END_SIGNATURE)
    if last < 0 or last + _END.size > len(tail):
        raise StructureError("the archive is cut short: it has no end record")
    _, disk, first_disk, here, entries, length, start, comment = _END.unpack_from(tail, last)
    position = tail_start + last
    if position + _END.size + comment != size:
        raise StructureError("the end record does not stand at the end: another archive or other data follows it")
    if _has_rival(tail, last, size - tail_start):
        raise StructureError("the archive has two end records")
    if disk or first_disk or here != entries:
        raise StructureError("the archive is a part of several")
    directory = _Directory(start, length, entries)
    locator = tail[last - _LOCATOR.size : last] if last >= _LOCATOR.size else b""
    if locator.startswith(_LOCATOR_SIGNATURE):
        directory, position = _read_end64(file, locator, directory, end=position - _LOCATOR.size)
    if directory.start + directory.size != position:
        raise StructureError("the central directory does not end where the end record begins")
    return directory


def _has_rival(tail: bytes, last: int, size: int) -> bool:
    """Tell whether an earlier end record, too, would have its comment end with the file."""
    found = tail.find(_END_SIGNATURE)
    while 0 <= found < last:
        if found + _END.size + int.from_bytes(tail[found + 20 : found + 22], "little") == size:
            return True
        found = tail.find(_END_SIGNATURE, found + 1)
    return False


def _read_end64(file: int, locator: bytes, plain: _Directory, *, end: int) -> tuple[_Directory, int]:
    """Return the ZIP64 end record's directory and its own place; what both records state has to agree."""
    _, disk, position, disks = _LOCATOR.unpack(locator)
    record = os.pread(file, _END64.size, position) if position + _END64.size <= end else b""
    if len(record) < _END64.size or not record.startswith(_END64_SIGNATURE) or disk or disks > 1:
        raise StructureError("the ZIP64 locator does not point to a ZIP64 end record")
    _, length, _, _, number, first, here, entries, size, start = _END64.unpack(record)
    if position + 12 + length != end or number or first or here != entries:
        raise StructureError("the ZIP64 end record disagrees with its locator")
    for short, long, most in (
        (plain.entries, entries, _MAX_16),
        (plain.size, size, _MAX_32),
        (plain.start, start, _MAX_32),
    ):
        if short not in (long, most):
            raise StructureError("the ZIP64 end record disagrees with the end record")
    return _Directory(start, size, entries), position


def _check_directory(directory: _Directory, limits: ArchiveLimits, faults: FaultList) -> None:
    if directory.entries == 0:
        faults.add("", "the archive is empty")
    if directory.entries > limits.entries:
        faults.add("", f"the archive has {directory.entries:,} entries, more than {limits.entries:,}")
    if directory.size > limits.directory_bytes:
        faults.add("", f"the central directory has {directory.size:,} bytes, more than {limits.directory_bytes:,}")
    if directory.size < directory.entries * RECORD_BYTES:
        faults.add("", "the central directory is too small for its entries")


def _take_plain_block(block: RecordBlock, directory: _Directory, table: MemberTable) -> bool:
    """Add a block's records to the table if nothing about any of them is unusual; return whether it was so.

    What this takes, `_take_record` would take without a fault; what this does not is looked at one by one.
    """
    fields = block.read_fields()
    names = block.read_names(fields["name"].tolist())
    flags, method, kind = fields["flags"], fields["method"], fields["attributes"] >> 28
    packed, size, start = (fields[name].astype(np.int64) for name in ("packed", "size", "start"))
    folders = np.array([name.endswith(b"/") for name in names], np.bool_)
    is_plain = (
        (flags & (_ENCRYPTED_FLAGS | _PATCH_FLAG) == 0)
        & np.where(method == STORED, packed == size, (method == DEFLATED) & (size <= packed * _MOST_DEFLATE_RATIO))
        & np.isin(kind, _PLAIN_KINDS)
        & (fields["disk"] == 0)
        & (np.maximum(np.maximum(size, packed), start) < _MAX_32)
        & (start + _LOCAL.size + fields["name"] + packed <= directory.start)
        & ~(folders & (size > 0))
    )
    if not (is_plain.all() and are_plain_names(names)):
        return False
    return table.extend(
        names, starts=start, packed=packed, sizes=size, checksums=fields["checksum"], methods=method, folders=folders
    )


def _take_record(record: Record, *, directory: _Directory, table: MemberTable, faults: FaultList) -> None:
    """Check one record of the central directory and add it to the table."""
    flags, method, attributes = record.flags, record.method, record.attributes
    size, packed, start = record.size, record.packed, record.start
    name, fault = _read_name(record.raw_name, flags)
    if fault:
        faults.add(name, fault)
    try:
        size, packed, start = _widen((size, packed, start), record.extra)
    except StructureError as error:
        faults.add(name, error.detail)
    is_folder = name.endswith("/")
    is_plain = (
        not flags & (_ENCRYPTED_FLAGS | _PATCH_FLAG)
        and (packed == size if method == STORED else method == DEFLATED and size <= packed * _MOST_DEFLATE_RATIO)
        and attributes >> 28 in _PLAIN_KINDS
    )
    for reason in (
        () if is_plain else _find_record_faults(flags, method, size=size, packed=packed, attributes=attributes)
    ):
        faults.add(name, reason)
    if record.disk:
        faults.add(name, "the entry is on another disk")
    if is_folder and size:
        faults.add(name, "a folder has content")
    if start + _LOCAL.size + len(record.raw_name) + packed > directory.start:
        faults.add(name, "the entry reaches into the central directory")
        start = packed = size = 0
    table.add(
        name,
        start=start,
        packed=packed,
        size=size,
        checksum=record.checksum,
        method=method if method == DEFLATED else STORED,
        is_folder=is_folder,
    )


def _find_record_faults(flags: int, method: int, *, size: int, packed: int, attributes: int) -> Iterator[str]:
    if flags & _ENCRYPTED_FLAGS:
        yield "the entry is encrypted"
    if flags & _PATCH_FLAG:
        yield "the entry is a patch"
    if method not in (STORED, DEFLATED):
        yield f"the entry is packed by method {method}; only stored and deflated ones are read"
    elif method == STORED and packed != size and not flags & _ENCRYPTED_FLAGS:
        yield "the entry is stored, yet its two sizes differ"
    elif size > packed * _MOST_DEFLATE_RATIO:
        yield f"the entry declares {size:,} bytes, which {packed:,} packed ones cannot hold"
    # The upper half is a file mode by every archiver that writes one; the others write zeros.
    kind = stat.S_IFMT(attributes >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        yield _KINDS.get(kind, "the entry is neither a file nor a folder")


_PLAIN_KINDS = (0, stat.S_IFREG >> 12, stat.S_IFDIR >> 12)
_KINDS = {
    stat.S_IFLNK: "the entry is a symbolic link",
    stat.S_IFIFO: "the entry is a pipe",
    stat.S_IFCHR: "the entry is a device",
    stat.S_IFBLK: "the entry is a device",
    stat.S_IFSOCK: "the entry is a socket",
}


def _read_name(raw: bytes, flags: int) -> tuple[str, str | None]:
    """Return an entry's name and what is wrong with it.

    The name is UTF-8 where the flag says so or it can be read so (macOS sets no flag), else code page 437,
    which every byte string is readable in.
    """
    try:
        name = tidy_name(raw.decode())
    except UnicodeDecodeError:
        name = raw.decode("cp437")
        if flags & _UTF8_FLAG:
            return name, "the name is not valid UTF-8"
    return name, find_name_fault(name)


def _widen(numbers: tuple[int, int, int], extra: bytes) -> tuple[int, int, int]:
    """Return size, packed size and offset with the 64-bit values of the ZIP64 extra field in the marked places."""
    if _MAX_32 not in numbers:
        return numbers
    field = _find_extra(extra, 1)
    wide, used = list(numbers), 0
    for place, number in enumerate(numbers):
        if number != _MAX_32:
            continue
        if field is None or used + 8 > len(field):
            raise StructureError("the entry lacks its ZIP64 sizes")
        wide[place] = int.from_bytes(field[used : used + 8], "little")
        used += 8
    if max(wide) >= 1 << 62:
        raise StructureError("the entry has impossible ZIP64 sizes")
    return wide[0], wide[1], wide[2]


def _find_extra(extra: bytes, wanted: int) -> bytes | None:
    used = 0
    while used + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, used)
        if kind == wanted:
            return extra[used + 4 : used + 4 + length]
        used += 4 + length
    return None


def _check_places(members: Members, faults: FaultList) -> None:
    """Note entries that overlap, and data before the first one."""
    if not len(members):
        return
    if members.starts.min() > 0:
        faults.add("", "other data stands before the first entry")
    too_close = np.flatnonzero(members.starts + _LOCAL.size + members.packed > members.ends)
    for index in too_close[:1000]:
        faults.add(members.names[int(index)], "the entry overlaps another")


def _check_ratio(members: Members, limits: ArchiveLimits, faults: FaultList) -> None:
    unpacked, packed = int(members.sizes.sum()), max(int(members.packed.sum()), 1)
    if unpacked > limits.ratio_free_bytes and unpacked > packed * limits.ratio:
        faults.add("", f"the archive unpacks to {unpacked / packed:,.0f} times its size; {limits.ratio:g} is allowed")


def read_member(read_at: ReadAt, member: Member, *, with_content: bool) -> bytes:
    """Return the content of a member, after its local header was checked against the directory.

    Args:
        read_at: Returns that many bytes from that place of the archive.
        member: What the directory says of it.
        with_content: Whether to read the content; without, nothing is unpacked and the answer is empty.

    Raises:
        StructureError: Header or content is not as the directory says.
        DamagedError: The content fails its checksum or cannot be inflated.
    """
    start = _check_local_header(read_at, member)
    if not with_content:
        return b""
    content = read_at(start, member.packed)
    if member.method == DEFLATED:
        content = _inflate(content, member.size)
    if len(content) != member.size:
        raise StructureError(f"the entry does not unpack to the {member.size:,} bytes that it declares")
    if zlib.crc32(content) != member.checksum:
        raise DamagedError("The entry is damaged: its checksum differs.")
    return content


def _check_local_header(read_at: ReadAt, member: Member) -> int:
    """Return where the content begins; raises `StructureError` where header and directory differ."""
    header = read_at(member.start, _LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(LOCAL_SIGNATURE):
        raise StructureError("the entry has no local header where the directory says")
    _, _, flags, method, _, _, checksum, packed, size, name_length, extra_length = _LOCAL.unpack(header)
    content_start: int = member.start + _LOCAL.size + name_length + extra_length
    if content_start + member.packed > member.end:
        raise StructureError("the entry overlaps another")
    raw_name = read_at(member.start + _LOCAL.size, name_length)
    if raw_name != member.name.encode() and _read_name(raw_name, flags)[0] != member.name:
        raise StructureError("the local header has another name than the directory")
    if method != member.method or flags & _ENCRYPTED_FLAGS:
        raise StructureError("the local header has another method than the directory")
    if not flags & _DESCRIPTOR_FLAG and checksum != member.checksum:
        raise StructureError("the local header has another checksum than the directory")
    for short, long in ((packed, member.packed), (size, member.size)):
        if short not in (long, _MAX_32) and not flags & _DESCRIPTOR_FLAG:
            raise StructureError("the local header has other sizes than the directory")
    return content_start


def _inflate(packed: bytes, size: int) -> bytes:
    """Inflate, never to more than one byte above the declared size."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(packed, size + 1)
        if len(content) <= size:  # the end marker may not be read yet
            content += inflater.decompress(inflater.unconsumed_tail, 1 + size - len(content))
    except zlib.error as error:
        raise DamagedError("The entry is damaged: it cannot be inflated.") from error
    if len(content) > size:
        raise StructureError(f"the entry unpacks to more than the {size:,} bytes that it declares")
    if not inflater.eof:
        raise DamagedError("The entry is damaged: its content is cut short.")
    if inflater.unused_data or inflater.unconsumed_tail:
        raise StructureError("the entry has other data behind its content")
    return content
