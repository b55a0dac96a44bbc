"""Archives that unpack to far more than they weigh, written without ever holding what they unpack to."""

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Iterator

_PIECE = 1 << 20


def deflate_zeros(count: int) -> bytes:
    """Return ``count`` zeros (a multiple of a mebibyte) as raw deflate: one piece again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(_PIECE)) + packer.flush(zlib.Z_FULL_FLUSH)
    return piece * (count // _PIECE) + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def gzip_zeros(count: int) -> bytes:
    """Return a gzip file that begins as a tar and goes on for ``count`` zeros; its trailer is not right."""
    about = tarfile.TarInfo("train/a/zeros.png")
    about.size = count
    head = about.tobuf(tarfile.GNU_FORMAT)
    start = gzip.compress(head, mtime=0)
    body = zlib.compressobj(9, zlib.DEFLATED, -15)
    return start[:10] + body.compress(head) + body.flush(zlib.Z_FULL_FLUSH) + deflate_zeros(count) + bytes(8)


def overlap_fully(entries: int, size: int) -> bytes:
    """Return a ZIP in which every entry of the directory names the same packed zeros."""
    packed = deflate_zeros(size)
    checksum = zlib.crc32(bytes(size))
    local = _local(b"0000", checksum, packed=len(packed), size=size) + packed
    records = [
        _central(b"%04d" % number, checksum, packed=len(packed), size=size, start=0) for number in range(entries)
    ]
    return _finish(local, records)


def overlap_quoted(entries: int, size: int) -> bytes:
    """Return a ZIP in which each entry quotes the header of the next as a stored block, and shares what follows."""
    packed, checksum = deflate_zeros(size), zlib.crc32(bytes(size))
    kernel = bytes(size)
    found: list[tuple[bytes, int, int, int, bytes]] = []
    name = b"%04d" % (entries - 1)
    following = _local(name, checksum, packed=len(packed), size=size)
    found.append((name, checksum, len(packed), size, following))
    for number in range(entries - 2, -1, -1):
        quoted = b"".join(head for *_, head in reversed(found[-1:]))
        block = b"\0" + struct.pack("<2H", len(quoted), len(quoted) ^ 0xFFFF)
        kernel, packed = quoted + kernel, block + quoted + packed
        checksum, name = zlib.crc32(kernel), b"%04d" % number
        head = _local(name, checksum, packed=len(packed), size=len(kernel))
        found.append((name, checksum, len(packed), len(kernel), head))
    data = found[-1][4] + packed
    records, start = [], 0
    for name, checksum, length, size_bytes, head in reversed(found):
        records.append(_central(name, checksum, packed=length, size=size_bytes, start=start))
        start += len(head) + 5
    return _finish(data, records)


def _local(name: bytes, checksum: int, *, packed: int, size: int) -> bytes:
    return struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, checksum, packed, size, len(name), 0) + name


def _central(name: bytes, checksum: int, *, packed: int, size: int, start: int) -> bytes:
    head = struct.pack("<4s6H3L", b"PK\1\2", 20, 20, 0, 8, 0, 0, checksum, packed, size)
    return head + struct.pack("<5H2L", len(name), 0, 0, 0, 0, 0, start) + name


def _finish(data: bytes, records: list[bytes]) -> bytes:
    directory = b"".join(records)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(records), len(records), len(directory), len(data), 0)
    return data + directory + end


def pile_up(entries: int, *, suffix: bytes = b"txt", comment_bytes: int = 0) -> Iterator[bytes]:
    """Yield the pieces of a ZIP of so many empty entries, each with a comment of so many bytes in the directory."""
    names = [b"train/c%02d/%07d.%s" % (number % 50, number, suffix) for number in range(entries)]
    comment, place, size = bytes(comment_bytes), 0, 0
    for name in names:
        yield struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0) + name
    for name in names:
        head = struct.pack("<4s6H3L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0)
        record = head + struct.pack("<5H2L", len(name), 0, comment_bytes, 0, 0, 0, place) + name + comment
        place, size = place + 30 + len(name), size + len(record)
        yield record
    yield struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, size, place)
    yield struct.pack("<4sLQL", b"PK\6\7", 0, place + size, 1)
    yield struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, min(entries, 0xFFFF), min(entries, 0xFFFF), *(2**32 - 1,) * 2, 0)


def as_tar(files: dict[str, bytes], **kinds: bytes) -> bytes:
    """Return a tar of files, and of entries of other kinds (``name=tarfile.SYMTYPE``)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
        for name, kind in kinds.items():
            about = tarfile.TarInfo(name)
            about.type, about.linkname = kind, "/etc/passwd"
            archive.addfile(about)
    return buffer.getvalue()
