"""Pictures in a ZIP that has no classes: those that somebody wants to have predicted."""

import os
from typing import BinaryIO

from core.datasets.layout import is_clutter
from core.datasets.limits import ArchiveLimits
from core.datasets.members import DamagedError, Member, StructureError
from core.datasets.zip_archive import read_member, read_zip
from core.errors import DatasetRejectedError, Fault, TooLargeError


def read_pictures(file: BinaryIO, *, limits: ArchiveLimits, most_pictures: int) -> list[tuple[str, bytes]]:
    """Return the name and the bytes of every picture of a ZIP, in its order.

    Folders and what systems leave behind are passed over; everything else is taken for a picture. The bytes of one
    whose entry is damaged are empty, so that whoever decodes the pictures names it with the others that are broken.

    Args:
        file: An open file of the system; it is read by place, wherever it stands.
        limits: What the archive has to keep.
        most_pictures: How many there may be.

    Raises:
        DatasetRejectedError: ``archive_rejected``: the archive's structure is wrong; with every fault.
        TooLargeError: There are more pictures.
    """
    descriptor = file.fileno()
    members = read_zip(descriptor, os.fstat(descriptor).st_size, limits=limits, beat=lambda: None)
    pictures = [member for member in members.rows() if _is_picture(member)]
    if len(pictures) > most_pictures:
        raise TooLargeError(f"The archive has more than the {most_pictures} images that are allowed here.")
    try:
        return [(member.name, _read(descriptor, member)) for member in pictures]
    except StructureError as error:
        fault = Fault("", error.detail)
        raise DatasetRejectedError(error.detail, code="archive_rejected", faults=[fault]) from error


def _is_picture(member: Member) -> bool:
    return not member.is_folder and not any(map(is_clutter, member.name.lower().split("/")))


def _read(descriptor: int, member: Member) -> bytes:
    try:
        return read_member(lambda place, length: os.pread(descriptor, length, place), member, with_content=True)
    except DamagedError:
        return b""
