"""Opening an archive of any accepted kind, and reading its members from several processes at once."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from core.datasets import tar_archive, zip_archive
from core.datasets.limits import ArchiveLimits
from core.datasets.members import Beat, FaultList, Member, Members, ReadAt, StructureError

ArchiveKind = Literal["zip", "tar"]
_WINDOW_BYTES = 16 * 2**20
_GZIP_SIGNATURE = b"\x1f\x8b"
_OTHERS = (
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"BZh", "packed by bzip2"),
    (b"\xfd7zXZ\x00", "packed by xz"),
    (b"\x28\xb5\x2f\xfd", "packed by Zstandard"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a single picture"),
    (b"\xff\xd8\xff", "a single picture"),
)
_ACCEPTED = "accepted are ZIP, tar and tar.gz"


@dataclass(frozen=True)
class Archive:
    """An archive whose table of members has passed every check.

    Attributes:
        path: The file that has the members; for tar.gz the unpacked twin.
        kind: How to read a member of it.
        members: The entries.
    """

    path: Path
    kind: ArchiveKind
    members: Members


@contextmanager
def open_archive(path: Path, *, limits: ArchiveLimits, scratch: Path, beat: Beat) -> Iterator[Archive]:
    """Open an archive; its kind is told by its content, never by its name.

    Args:
        path: The archive.
        limits: What it has to keep.
        scratch: Folder for the unpacked twin of a tar.gz, which is deleted at the end.
        beat: Called often, to show that it goes on.

    Raises:
        DatasetRejectedError: It is of another kind, or its structure is wrong; with every fault.
    """
    with path.open("rb") as file:
        head = file.read(tar_archive.BLOCK)
    twin = scratch / "archive.tar"
    try:
        if head.startswith(_GZIP_SIGNATURE):
            _unpack(path, twin, limits=limits, beat=beat)
            path = twin
            with path.open("rb") as file:
                head = file.read(tar_archive.BLOCK)
        kind = _detect_kind(head, is_packed=path is twin)
        yield Archive(path, kind, _read_members(path, kind, limits=limits, beat=beat))
    finally:
        twin.unlink(missing_ok=True)


def _unpack(path: Path, twin: Path, *, limits: ArchiveLimits, beat: Beat) -> None:
    try:
        tar_archive.gunzip(path, twin, limits=limits, beat=beat)
    except StructureError as error:
        _refuse(error.detail)


def _detect_kind(head: bytes, *, is_packed: bool) -> ArchiveKind:
    if head.startswith((b"PK\3\4", b"PK\5\6")) and not is_packed:
        return "zip"
    if tar_archive.looks_like_tar(head):
        return "tar"
    other = next((what for signature, what in _OTHERS if head.startswith(signature)), None)
    if not head:
        _refuse("the archive is empty")
    if is_packed:
        _refuse("the gzip file holds no tar archive")
    return _refuse(f"the file is {other or 'no archive of a known kind'}; {_ACCEPTED}")


def _refuse(detail: str) -> NoReturn:
    faults = FaultList()
    faults.add("", detail)
    faults.raise_any()
    raise AssertionError


def _read_members(path: Path, kind: ArchiveKind, *, limits: ArchiveLimits, beat: Beat) -> Members:
    read = zip_archive.read_zip if kind == "zip" else tar_archive.read_tar
    with path.open("rb") as file:
        return read(file.fileno(), path.stat().st_size, limits=limits, beat=beat)


MemberReader = Callable[[Member, bool], bytes]


@contextmanager
def read_part(path: Path, kind: ArchiveKind, members: Members) -> Iterator[MemberReader]:
    """Give a function that reads the members of a part of an archive.

    The part is read in one go where its members lie together, so that a small image costs no system call.

    Args:
        path: `Archive.path`.
        kind: `Archive.kind`.
        members: The part.

    Yields:
        A function of a member, and of whether its content is wanted. It raises `StructureError` where the whole
        archive is to be refused, `DamagedError` where only this entry is.
    """
    read = zip_archive.read_member if kind == "zip" else tar_archive.read_member
    file = os.open(path, os.O_RDONLY)
    try:
        read_at = _open_window(file, int(members.starts.min()), int(members.ends.max()))
        yield lambda member, with_content: read(read_at, member, with_content=with_content)
    finally:
        os.close(file)


def _open_window(file: int, start: int, end: int) -> ReadAt:
    if end - start > _WINDOW_BYTES:
        return lambda place, length: os.pread(file, length, place)
    window = os.pread(file, end - start, start)
    return lambda place, length: window[place - start : place - start + length]
