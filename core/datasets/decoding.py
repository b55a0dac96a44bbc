"""The work of a decoding process: a run of entries becomes pixels in a shared file, and a few arrays about them."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.datasets import images
from core.datasets.archives import Archive, MemberReader, read_part
from core.datasets.members import Beat, DamagedError, Member, StructureError
from core.datasets.packs import CHANNELS
from core.datasets.plain_images import PlainForm, read_plain
from core.datasets.pool import DecoderPool
from core.datasets.small_images import cut_sheet, decode_sheet, fits_sheet, resize_sheet
from core.domain.datasets import ColorMode
from core.errors import InvalidError

_CHUNK_ENTRIES = 512
_CHUNK_BYTES = 4 * 2**20
_CHUNK_PIXEL_BYTES = 16 * 2**20
_SHEET_PIXELS = 2**18
_SPLIT_SEED = b"split-0"
CRASHED = "The image cannot be read: it ends the decoder, or keeps it busy without end."


@dataclass(frozen=True)
class Job:
    """What is the same for every chunk of a run.

    Attributes:
        archive: What to read. The arrays have one item for each of its entries.
        wanted: bool, which entries are images to decode; of the others the structure is checked alone.
        previewed: bool, which of them the preview shows.
        spool: File for the pixels: images of a chunk stand at ``slot * image_size**2 * 3``, tightly packed.
        image_size: Side of the square.
        color_mode: Form of the pixels; ``None``: grayscale where every image of a chunk is.
        max_pixels: Most pixels of a stored image.
        preview_side: Side of the box that a preview picture fits in.
    """

    archive: Archive
    wanted: npt.NDArray[np.bool_]
    previewed: npt.NDArray[np.bool_]
    spool: Path
    image_size: int
    color_mode: ColorMode | None
    max_pixels: int
    preview_side: int = 64


@dataclass(frozen=True)
class Chunk:
    """Consecutive entries of an archive: from ``first`` up to ``last``; ``slot`` images before them are wanted."""

    first: int
    last: int
    slot: int

    def __len__(self) -> int:
        return self.last - self.first


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
        modes: uint8, index into ``mode_names``.
        mode_names: Stored modes.
        digests: int64, of the decoded pixels: Python's keyed hash, so equal for equal ones within a run alone.
        file_digests: uint64, of the image file's bytes; a split that is made follows them.
        channels: Of the pixels in the spool, 1 or 3.
        rejected: Index of an entry and why it was rejected.
        faults: Index of an entry and what is wrong with the archive's structure there.
        previews: Index of an entry and its small picture.
    """

    accepted: npt.NDArray[np.bool_]
    colored: npt.NDArray[np.bool_]
    sizes: npt.NDArray[np.int32]
    modes: npt.NDArray[np.uint8]
    mode_names: list[str]
    digests: npt.NDArray[np.int64]
    file_digests: npt.NDArray[np.uint64]
    channels: int
    rejected: dict[int, str]
    faults: dict[int, str]
    previews: dict[int, Preview]


def plan_chunks(job: Job) -> Iterator[Chunk]:
    """Yield the chunks of an archive: a few hundred entries, and no more bytes than keep a process busy briefly."""
    total = len(job.wanted)
    slots = np.append(0, np.cumsum(job.wanted))
    weights = np.cumsum(np.where(job.wanted, job.archive.members.packed, 0))
    entries = min(_CHUNK_ENTRIES, max(1, _CHUNK_PIXEL_BYTES // (job.image_size**2 * 3)))
    first = weight = 0
    while first < total:
        heaviest = int(np.searchsorted(weights, weight + _CHUNK_BYTES))
        last = min(max(first + 1, min(first + entries, heaviest)), total)
        yield Chunk(first, last, int(slots[first]))
        first, weight = last, int(weights[last - 1])


def split_chunk(job: Job, chunk: Chunk) -> list[Chunk]:
    """Cut a chunk into its single entries; one entry is not cut further."""
    if len(chunk) == 1:
        return []
    wanted = job.wanted[chunk.first : chunk.last]
    slots = (chunk.slot + np.cumsum(wanted) - wanted).tolist()
    return [Chunk(first, first + 1, slot) for first, slot in enumerate(slots, chunk.first)]


def run_chunks(job: Job, *, processes: int, stall_seconds: float) -> Iterator[tuple[Chunk, ChunkResult | None]]:
    """Decode an archive in a pool of processes; ``None`` stands for a single entry that killed its process.

    The processes are forks of this one: they have the job, its table of entries and the key of Python's hash from it.
    """
    work, split = partial(decode_chunk, job), partial(split_chunk, job)
    with DecoderPool(work, split, processes=processes, stall_seconds=stall_seconds) as pool:
        yield from pool.map(plan_chunks(job))


def decode_chunk(job: Job, chunk: Chunk, beat: Beat) -> ChunkResult:
    """Decode the images of a chunk and write their pixels into the spool."""
    decoder = _ChunkDecoder(job, chunk)
    members = job.archive.members.part(chunk.first, chunk.last)
    with read_part(job.archive.path, job.archive.kind, members) as read:
        for index, member in enumerate(members.rows()):
            decoder.take(index, member, read)
            beat()
    return decoder.finish(beat)


class _ChunkDecoder:
    """Collects the images of one chunk."""

    def __init__(self, job: Job, chunk: Chunk) -> None:
        count = len(chunk)
        self._job = job
        self._slot = chunk.slot
        self._wanted: list[bool] = job.wanted[chunk.first : chunk.last].tolist()
        self._previewed: list[bool] = job.previewed[chunk.first : chunk.last].tolist()
        self._pixels: list[tuple[list[int], npt.NDArray[np.uint8]]] = []
        self._small: dict[PlainForm, list[tuple[int, bytes, bytes]]] = defaultdict(list)
        self._read: list[int] = []
        self._file_digests: list[bytes] = []
        self._accepted = np.zeros(count, np.bool_)
        self._modes = np.zeros(count, np.uint8)
        self._mode_names: list[str] = []
        self._sizes = np.zeros((count, 2), np.int32)
        self._colored = np.zeros(count, np.bool_)
        self._digests = np.zeros(count, np.int64)
        self._rejected: dict[int, str] = {}
        self._faults: dict[int, str] = {}
        self._previews: dict[int, Preview] = {}

    def take(self, index: int, member: Member, read: MemberReader) -> None:
        """Read one entry; decode it if it is wanted, a small one later with others of its form."""
        try:
            data = read(member, self._wanted[index])
        except StructureError as error:
            self._faults[index] = error.detail
            return
        except DamagedError as error:
            self._rejected[index] = error.detail
            return
        if not self._wanted[index]:
            return
        self._read.append(index)
        self._file_digests.append(blake2b(data, digest_size=8, person=_SPLIT_SEED).digest())
        plain = read_plain(data)
        if plain and self._is_small(plain[0]):
            self._small[plain[0]].append((index, data, plain[1]))
        else:
            self._decode(index, data)

    def _is_small(self, form: PlainForm) -> bool:
        job = self._job
        return form in self._small or fits_sheet(form, max_pixels=job.max_pixels, image_size=job.image_size)

    def _decode(self, index: int, data: bytes) -> None:
        """Decode an image by itself."""
        job = self._job
        try:
            decoded = images.decode(data, max_pixels=job.max_pixels, image_size=job.image_size)
        except InvalidError as error:
            self._rejected[index] = error.detail
            return
        image = decoded.image
        mode = job.color_mode or images.color_mode_of(image)
        pixels = images.to_array(image, image_size=job.image_size, color_mode=mode)
        self._keep([index], pixels[np.newaxis], mode=decoded.mode, size=decoded.size, is_colored=image.mode != "L")
        self._digests[index] = hash((image.size, image.tobytes()))
        if self._previewed[index]:
            self._previews[index] = _make_preview(image, job.preview_side)

    def _decode_small(self, form: PlainForm, found: Sequence[tuple[int, bytes, bytes]]) -> None:
        """Decode small images of one form; one that this short way does not take goes the long way."""
        sheet, sound = decode_sheet(form, [content for _, _, content in found])
        for (index, data, _), is_sound, (box, pixels) in zip(found, sound, cut_sheet(sheet, form), strict=True):
            if not is_sound:
                self._decode(index, data)
                continue
            self._digests[index] = hash((form.size, pixels))
            if self._previewed[index]:
                self._previews[index] = _make_preview(sheet.crop(box), self._job.preview_side)
        resized = resize_sheet(sheet, form, self._job.image_size, self._job.color_mode)
        indices = [index for (index, _, _), is_sound in zip(found, sound, strict=True) if is_sound]
        if indices:
            self._keep(indices, resized[sound], mode=form.mode, size=form.size, is_colored=form.mode != "L")

    def _keep(
        self,
        indices: list[int],
        pixels: npt.NDArray[np.uint8],
        *,
        mode: str,
        size: tuple[int, int],
        is_colored: bool,
    ) -> None:
        if mode not in self._mode_names:
            self._mode_names.append(mode)
        self._pixels.append((indices, pixels))
        self._accepted[indices] = True
        self._modes[indices] = self._mode_names.index(mode)
        self._sizes[indices] = size
        self._colored[indices] = is_colored

    def finish(self, beat: Beat) -> ChunkResult:
        """Decode what waits, write the pixels, and return what is known."""
        for form, found in self._small.items():
            step = max(1, _SHEET_PIXELS // (form.size[0] * form.size[1]))
            for start in range(0, len(found), step):
                self._decode_small(form, found[start : start + step])
                beat()
        file_digests = np.zeros(len(self._accepted), np.uint64)
        file_digests[self._read] = np.frombuffer(b"".join(self._file_digests), ">u8")
        return ChunkResult(
            accepted=self._accepted,
            colored=self._colored,
            sizes=self._sizes,
            modes=self._modes,
            mode_names=self._mode_names,
            digests=self._digests,
            file_digests=file_digests,
            channels=self._write(),
            rejected=self._rejected,
            faults=self._faults,
            previews=self._previews,
        )

    def _write(self) -> int:
        """Write the pixels into the spool, in the order of the entries; return their channels."""
        side, mode = self._job.image_size, self._job.color_mode
        channels = CHANNELS[mode] if mode else max((pixels.shape[3] for _, pixels in self._pixels), default=1)
        block = np.empty((int(np.count_nonzero(self._accepted)), side, side, channels), np.uint8)
        places = np.cumsum(self._accepted) - 1
        for indices, pixels in self._pixels:
            block[places[indices]] = pixels  # one channel fills three
        file = os.open(self._job.spool, os.O_WRONLY)
        try:
            written, start = 0, self._slot * side**2 * 3
            while written < block.nbytes:
                written += os.pwrite(file, block.data.cast("B")[written:], start + written)
        finally:
            os.close(file)
        return channels


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
