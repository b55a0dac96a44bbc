"""The entries of an archive as arrays: a million of them take well below a hundred megabytes."""

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from core.datasets.limits import ArchiveLimits
from core.datasets.names import fold_name, printable_name
from core.errors import DatasetRejectedError, Fault, InvalidError

MAX_FAULTS = 1000
Beat = Callable[[], None]
"""Called often by what takes long, to show that it goes on."""
ReadAt = Callable[[int, int], bytes]
"""Returns so many bytes (the second argument) from a place of the archive (the first)."""


class StructureError(InvalidError):
    """What the archive says of an entry is not so: the whole archive is refused."""

    code = "archive_rejected"


class DamagedError(InvalidError):
    """The content of an entry is not what was packed: this entry is refused."""

    code = "unreadable_image"


class Names(Sequence[str]):
    """Texts in one buffer of UTF-8: a sequence without an object for each."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])

    def append(self, name: str) -> None:
        """Add a text at the end."""
        self._bytes += name.encode()
        self._ends.append(len(self._bytes))

    def extend(self, names: Sequence[bytes]) -> None:
        """Add texts, already in UTF-8, at the end."""
        lengths = np.fromiter(map(len, names), np.int64, len(names))
        self._ends.frombytes((self._ends[-1] + np.cumsum(lengths)).tobytes())
        self._bytes += b"".join(names)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return self._bytes[self._ends[index] : self._ends[index + 1]].decode()

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self._ends[1:]:
            yield self._bytes[start:end].decode()
            start = end

    def hash_folded(self) -> npt.NDArray[np.int64]:
        """Return a number for each text; texts that `fold_name` makes equal have the same."""
        if not self._bytes.isascii():
            return np.fromiter((hash(fold_name(name)) for name in self), np.int64, len(self))
        lower, ends = bytes(self._bytes.lower()), self._ends
        return np.fromiter((hash(lower[start:end]) for start, end in pairwise(ends)), np.int64, len(self))


class Member(NamedTuple):
    """One entry; the fields are those of `Members`."""

    name: str
    start: int
    end: int
    packed: int
    size: int
    checksum: int
    method: int
    is_folder: bool


@dataclass(frozen=True)
class Members:
    """The entries of an archive in its order; every array has one item for each.

    Attributes:
        names: Names as they are in the archive, a leading ``./`` taken away.
        starts: Byte at which the entry begins: a ZIP's local header, a tar's data.
        ends: Byte that the entry may not reach beyond: where the next one begins.
        packed: Bytes that the content takes in the archive.
        sizes: Bytes that it unpacks to, as declared.
        checksums: CRC-32 of the content; 0 for tar.
        methods: 0 stored, 8 deflated.
        folders: Whether the entry is a folder.
    """

    names: Sequence[str]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    packed: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    checksums: npt.NDArray[np.uint32]
    methods: npt.NDArray[np.uint8]
    folders: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.names)

    def part(self, first: int, last: int) -> "Members":
        """Return the members from ``first`` up to, not including, ``last``."""
        span = slice(first, last)
        return Members(
            names=self.names[span],
            starts=self.starts[span],
            ends=self.ends[span],
            packed=self.packed[span],
            sizes=self.sizes[span],
            checksums=self.checksums[span],
            methods=self.methods[span],
            folders=self.folders[span],
        )

    def rows(self) -> list[Member]:
        """Return each member by itself."""
        columns = (self.starts, self.ends, self.packed, self.sizes, self.checksums, self.methods, self.folders)
        return [Member(*row) for row in zip(self.names, *(column.tolist() for column in columns), strict=True)]


class FaultList:
    """The reasons for which an archive is rejected: all are counted, the first thousand kept."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._count = 0

    def add(self, name: str, detail: str) -> None:
        """Note what is wrong with the entry ``name``; an empty name stands for the archive as a whole."""
        self._count += 1
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(Fault(printable_name(name), detail))

    def __bool__(self) -> bool:
        return self._count > 0

    def raise_any(self) -> None:
        """Raise a `DatasetRejectedError` with every fault, if there is one."""
        if not self._faults:
            return
        first = self._faults[0]
        what = f"{first.pointer}: {first.detail}" if first.pointer else first.detail
        more = f" There are {self._count - 1:,} more faults." if self._count > 1 else ""
        raise DatasetRejectedError(
            f"The archive is not accepted: {what.rstrip('.')}.{more}", code="archive_rejected", faults=self._faults
        )


class MemberTable:
    """Collects members one by one, each checked against the limits as it comes."""

    def __init__(self, limits: ArchiveLimits, faults: FaultList) -> None:
        self._limits = limits
        self._faults = faults
        self._names = Names()
        self._starts, self._packed, self._sizes = array("q"), array("q"), array("q")
        self._checksums, self._methods, self._folders = array("L"), array("B"), array("B")
        self._total_bytes = 0

    def __len__(self) -> int:
        return len(self._names)

    def add(
        self, name: str, *, start: int, packed: int, size: int, checksum: int = 0, method: int = 0, is_folder: bool
    ) -> None:
        """Add a member.

        Raises:
            DatasetRejectedError: There are more than allowed, or they unpack to more; the rest is not looked at.
        """
        self._names.append(name)
        self._starts.append(start)
        self._packed.append(packed)
        self._sizes.append(size)
        self._checksums.append(checksum)
        self._methods.append(method)
        self._folders.append(is_folder)
        self._total_bytes += size
        limits = self._limits
        if size > limits.entry_bytes:
            self._faults.add(name, f"unpacks to {size:,} bytes, more than {limits.entry_bytes:,}")
        if self._total_bytes > limits.total_bytes:
            self._faults.add("", f"the archive unpacks to more than {limits.total_bytes:,} bytes")
            self._faults.raise_any()
        if len(self._names) > limits.entries:
            self._faults.add("", f"the archive has more than {limits.entries:,} entries")
            self._faults.raise_any()

    def extend(
        self,
        names: Sequence[bytes],
        *,
        starts: npt.NDArray[np.int64],
        packed: npt.NDArray[np.int64],
        sizes: npt.NDArray[np.int64],
        checksums: npt.NDArray[np.uint32],
        methods: npt.NDArray[np.uint16],
        folders: npt.NDArray[np.bool_],
    ) -> bool:
        """Add members all at once, if every limit holds with them; return whether it does."""
        limits, total_bytes = self._limits, self._total_bytes + int(sizes.sum())
        if (
            sizes.max(initial=0) > limits.entry_bytes
            or total_bytes > limits.total_bytes
            or len(self) + len(names) > limits.entries
        ):
            return False
        self._names.extend(names)
        self._total_bytes = total_bytes
        for column, values in (
            (self._starts, starts),
            (self._packed, packed),
            (self._sizes, sizes),
            (self._checksums, checksums),
            (self._methods, methods),
            (self._folders, folders),
        ):
            column.frombytes(values.astype(column.typecode).tobytes())
        return True

    def finish(self, *, end: int) -> Members:
        """Return the members; the last one's content may reach up to byte ``end`` of the archive."""
        starts, folders = np.array(self._starts, np.int64), np.array(self._folders, np.bool_)
        order = np.argsort(starts, kind="stable")
        ends = np.empty_like(starts)
        ends[order] = np.append(starts[order][1:], end)
        _check_twins(self._names, folders, self._faults)
        return Members(
            names=self._names,
            starts=starts,
            ends=ends,
            packed=np.array(self._packed, np.int64),
            sizes=np.array(self._sizes, np.int64),
            checksums=np.array(self._checksums, np.uint32),
            methods=np.array(self._methods, np.uint8),
            folders=folders,
        )


def _check_twins(names: Names, folders: npt.NDArray[np.bool_], faults: FaultList) -> None:
    """Note files whose names are equal, or would be to a file system that ignores case or Unicode's forms."""
    keys = names.hash_folded()
    keys[folders] = np.arange(int(np.count_nonzero(folders)))
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    groups: dict[str, list[str]] = defaultdict(list)
    for index in np.unique(np.concatenate([order[1:][same], order[:-1][same]])):
        if not folders[index]:
            groups[fold_name(names[int(index)])].append(names[int(index)])
    for twins in groups.values():
        for name in twins[1:]:
            other = "is there twice" if name == twins[0] else f"differs from {printable_name(twins[0])} in case only"
            faults.add(name, f"the name {other}")
