"""The work of a decoding process: a run of entries becomes pixels in a shared file, and a few arrays about them."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.datasets import images
from core.datasets.archives import Archive, ArchiveKind, MemberReader, read_part
from core.datasets.members import Beat, Member, Members, StructureError
from core.datasets.packs import CHANNELS
from core.datasets.pool import DecoderPool
from core.datasets.small_images import PackedRows, decode_rows, drop_colors, resize_many, unpack_png
from core.domain.datasets import ColorMode
from core.errors import InvalidError

_CHUNK_ENTRIES = 512
_CHUNK_BYTES = 4 * 2**20
_CHUNK_PIXEL_BYTES = 16 * 2**20
_SPLIT_SEED = b"split-0"
CRASHED = "The image cannot be read: it ends the decoder, or keeps it busy without end."


@dataclass(frozen=True)
class Job:
    """What is the same for every chunk of a run.

    Attributes:
        archive: The file with the members.
        kind: How to read it.
        spool: File for the pixels: images of a chunk stand at ``slot * image_size**2 * 3``, tightly packed.
        image_size: Side of the square.
        color_mode: Form of the pixels; ``None``: grayscale where every image of a chunk is.
        max_pixels: Most pixels of a stored image.
        preview_side: Side of the box that a preview picture fits in.
    """

    archive: Path
    kind: ArchiveKind
    spool: Path
    image_size: int
    color_mode: ColorMode | None
    max_pixels: int
    preview_side: int = 64


@dataclass(frozen=True)
class Chunk:
    """Consecutive entries of an archive.

    Attributes:
        job: What to do.
        first: Position of the first entry in the archive.
        slot: How many images stand before this chunk's in the spool.
        members: The entries.
        wanted: bool, which of them are images to decode; of the others the structure is checked alone.
        previewed: bool, which of them the preview shows.
    """

    job: Job
    first: int
    slot: int
    members: Members
    wanted: npt.NDArray[np.bool_]
    previewed: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Preview:
    """A small picture: Pillow's mode (``L`` or ``RGB``), width and height, and its bytes."""

    mode: str
    size: tuple[int, int]
    data: bytes


@dataclass(frozen=True)
class ChunkResult:
    """What became of a chunk; the arrays have one item for each of its entries.

    Attributes:
        accepted: bool, whether the entry is an image whose pixels are in the spool, in order.
        colored: bool, whether it is a colour image.
        sizes: int32 ``(n, 2)``, width and height.
        modes: The stored mode of each accepted image.
        digests: uint64, of the decoded pixels.
        file_digests: uint64, of the image file's bytes; a split that is made follows them.
        channels: Of the pixels in the spool, 1 or 3.
        rejected: Index of an entry and why it was rejected.
        faults: Index of an entry and what is wrong with the archive's structure there.
        previews: Index of an entry and its small picture.
    """

    accepted: npt.NDArray[np.bool_]
    colored: npt.NDArray[np.bool_]
    sizes: npt.NDArray[np.int32]
    modes: list[str]
    digests: npt.NDArray[np.uint64]
    file_digests: npt.NDArray[np.uint64]
    channels: int
    rejected: dict[int, str]
    faults: dict[int, str]
    previews: dict[int, Preview]


def plan_chunks(
    archive: Archive, job: Job, *, wanted: npt.NDArray[np.bool_], previewed: npt.NDArray[np.bool_]
) -> Iterator[Chunk]:
    """Yield the chunks of an archive: a few hundred entries, and no more bytes than keep a process busy briefly."""
    members = archive.members
    weights = np.where(wanted, members.packed, 0)
    entries = min(_CHUNK_ENTRIES, max(1, _CHUNK_PIXEL_BYTES // (job.image_size**2 * 3)))
    slot = first = 0
    while first < len(members):
        weight = np.cumsum(weights[first : first + entries])
        last = first + max(1, int(np.searchsorted(weight, _CHUNK_BYTES)))
        last = min(last, len(members))
        yield Chunk(
            job=job,
            first=first,
            slot=slot,
            members=members.part(first, last),
            wanted=wanted[first:last],
            previewed=previewed[first:last],
        )
        slot += int(np.count_nonzero(wanted[first:last]))
        first = last


def split_chunk(chunk: Chunk) -> list[Chunk]:
    """Cut a chunk into its single entries; one entry is not cut further."""
    if len(chunk.members) == 1:
        return []
    slots = chunk.slot + np.cumsum(chunk.wanted) - chunk.wanted
    return [
        replace(
            chunk,
            first=chunk.first + index,
            slot=int(slots[index]),
            members=chunk.members.part(index, index + 1),
            wanted=chunk.wanted[index : index + 1],
            previewed=chunk.previewed[index : index + 1],
        )
        for index in range(len(chunk.members))
    ]


def run_chunks(
    chunks: Iterator[Chunk], *, processes: int, stall_seconds: float
) -> Iterator[tuple[Chunk, ChunkResult | None]]:
    """Decode chunks in a pool of processes; ``None`` stands for a single entry that killed its process."""
    with DecoderPool(decode_chunk, split_chunk, processes=processes, stall_seconds=stall_seconds) as pool:
        yield from pool.map(chunks)


def decode_chunk(chunk: Chunk, beat: Beat) -> ChunkResult:
    """Decode the images of a chunk and write their pixels into the spool."""
    decoder = _ChunkDecoder(chunk)
    with read_part(chunk.job.archive, chunk.job.kind, chunk.members) as read:
        for index, member in enumerate(chunk.members.rows()):
            decoder.take(index, member, read)
            beat()
    return decoder.finish()


class _ChunkDecoder:
    """Collects the images of one chunk."""

    def __init__(self, chunk: Chunk) -> None:
        count = len(chunk.members)
        self._job = chunk.job
        self._slot = chunk.slot
        self._wanted: list[bool] = chunk.wanted.tolist()
        self._previewed: list[bool] = chunk.previewed.tolist()
        self._pixels: list[npt.NDArray[np.uint8] | None] = [None] * count
        self._small: dict[tuple[str, tuple[int, int]], list[tuple[int, PackedRows]]] = defaultdict(list)
        self._modes = [""] * count
        self._colored = np.zeros(count, np.bool_)
        self._sizes = np.zeros((count, 2), np.int32)
        self._digests = np.zeros(count, np.uint64)
        self._file_digests = np.zeros(count, np.uint64)
        self._rejected: dict[int, str] = {}
        self._faults: dict[int, str] = {}
        self._previews: dict[int, Preview] = {}

    def take(self, index: int, member: Member, read: MemberReader) -> None:
        """Read one entry; decode it if it is wanted, a small one later with others of its kind."""
        try:
            data = read(member, self._wanted[index])
            if not self._wanted[index]:
                return
            self._file_digests[index] = _digest(data, person=_SPLIT_SEED)
            small = unpack_png(data)
            if small is None:
                self._decode(index, data)
            else:
                self._small[small.mode, small.size].append((index, small))
        except StructureError as error:
            self._faults[index] = error.detail
        except InvalidError as error:
            self._rejected[index] = error.detail

    def _decode(self, index: int, data: bytes) -> None:
        job = self._job
        decoded = images.decode(data, max_pixels=job.max_pixels, image_size=job.image_size)
        image = decoded.image
        mode = job.color_mode or images.color_mode_of(image)
        pixels = images.to_array(image, image_size=job.image_size, color_mode=mode)
        is_same = image.size == pixels.shape[:2] and len(image.getbands()) == pixels.shape[2]
        self._pixels[index] = pixels
        self._modes[index] = decoded.mode
        self._colored[index] = image.mode != "L"
        self._sizes[index] = decoded.size
        self._digests[index] = _digest(pixels.data if is_same else image.tobytes(), salt=b"%dx%d" % image.size)
        if self._previewed[index]:
            self._previews[index] = _make_preview(image, job.preview_side)

    def _decode_small(self, mode: str, size: tuple[int, int], found: list[tuple[int, PackedRows]]) -> None:
        pixels = decode_rows([rows for _, rows in found])
        indices = [index for index, _ in found]
        for index, own in zip(indices, pixels, strict=True):
            self._modes[index] = mode
            self._digests[index] = _digest(own.data, salt=b"%dx%d" % size)
            if self._previewed[index]:
                image = Image.fromarray(own[..., 0] if mode == "L" else own)
                self._previews[index] = _make_preview(image, self._job.preview_side)
        self._colored[indices] = mode != "L"
        self._sizes[indices] = size
        if self._job.color_mode == "grayscale" and mode != "L":
            pixels = drop_colors(pixels)
        resized = resize_many(pixels, self._job.image_size)
        for index, own in zip(indices, resized, strict=True):
            self._pixels[index] = own

    def finish(self) -> ChunkResult:
        """Decode what waits, write the pixels, and return what is known."""
        for (mode, size), found in self._small.items():
            self._decode_small(mode, size, found)
        return ChunkResult(
            accepted=np.array([pixels is not None for pixels in self._pixels], np.bool_),
            colored=self._colored,
            sizes=self._sizes,
            modes=[mode for mode in self._modes if mode],
            digests=self._digests,
            file_digests=self._file_digests,
            channels=self._write(),
            rejected=self._rejected,
            faults=self._faults,
            previews=self._previews,
        )

    def _write(self) -> int:
        """Write the pixels into the spool; return their channels."""
        found = [pixels for pixels in self._pixels if pixels is not None]
        channels = (
            CHANNELS[self._job.color_mode] if self._job.color_mode else max((p.shape[2] for p in found), default=1)
        )
        block = b"".join(
            (pixels if pixels.shape[2] == channels else np.repeat(pixels, channels, axis=2)).tobytes()
            for pixels in found
        )
        file = os.open(self._job.spool, os.O_WRONLY)
        try:
            written, start = 0, self._slot * self._job.image_size**2 * 3
            while written < len(block):
                written += os.pwrite(file, block[written:], start + written)
        finally:
            os.close(file)
        return channels


def _digest(data: bytes | memoryview, *, salt: bytes = b"", person: bytes = b"") -> int:
    return int.from_bytes(blake2b(data, digest_size=8, salt=salt, person=person).digest(), "big")


def _make_preview(image: Image.Image, side: int) -> Preview:
    """Fit an image into a box: a small one is enlarged by a whole factor, so that its pixels stay visible."""
    width, height = image.size
    factor = side // max(width, height)
    if factor >= 1:
        small = image.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    else:
        scale = side / max(width, height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = image.resize(size, Image.Resampling.BILINEAR)
    return Preview(small.mode, small.size, small.tobytes())
