"""What a run over an archive's images has found, as arrays with one item for each entry."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.datasets.decoding import CRASHED, Chunk, ChunkResult, Job, Preview, run_chunks
from core.datasets.layout import Layout
from core.datasets.members import FaultList
from core.datasets.packs import CHANNELS
from core.domain.datasets import ColorMode

MAX_CRASHES = 20
OnProgress = Callable[[float], None]
"""Called with the share of the work that is done, 0–1."""


@dataclass(frozen=True)
class _Region:
    """Where a chunk's accepted images stand in the spool."""

    slot: int
    count: int
    channels: int


class Findings:
    """Collects the results of chunks, in whatever order they come.

    Attributes:
        archive: What was read.
        layout: The place of each entry.
        accepted: bool, the entries whose pixels are in the spool.
        colored: bool, those that are colour images.
        sizes: int32 ``(n, 2)``, width and height.
        modes: uint8, index into ``mode_names``.
        mode_names: Stored modes, in the order in which they were met.
        digests: int64, of the decoded pixels; comparable within this run alone.
        file_digests: uint64, of the image file's bytes.
        rejected: Why each rejected entry was rejected.
        previews: The small picture of each entry that was asked for one.
    """

    def __init__(self, layout: Layout, job: Job) -> None:
        count = len(job.archive.members)
        self.archive = job.archive
        self.layout = layout
        self.accepted = np.zeros(count, np.bool_)
        self.colored = np.zeros(count, np.bool_)
        self.sizes = np.zeros((count, 2), np.int32)
        self.modes = np.zeros(count, np.uint8)
        self.mode_names: list[str] = []
        self.digests = np.zeros(count, np.int64)
        self.file_digests = np.zeros(count, np.uint64)
        self.rejected: dict[int, str] = {}
        self.previews: dict[int, Preview] = {}
        self._job = job
        self._faults = FaultList()
        self._crashes = 0
        self._reasons: dict[str, str] = {}
        self._regions: list[_Region] = []

    @property
    def color_mode(self) -> ColorMode:
        """Return ``rgb`` where any accepted image has colours."""
        return "rgb" if self.colored.any() else "grayscale"

    def collect(self, *, processes: int, stall_seconds: float, on_progress: OnProgress) -> None:
        """Decode every image that has a place, and check every entry's structure.

        Raises:
            DatasetRejectedError: The structure of entries is not as the archive says; with every fault.
            OSError: The spool cannot be written.
        """
        done, total = 0, max(1, len(self.accepted))
        for chunk, result in run_chunks(self._job, processes=processes, stall_seconds=stall_seconds):
            self._take(chunk, result)
            done += len(chunk)
            on_progress(done / total)
        self._faults.raise_any()

    def _take(self, chunk: Chunk, result: ChunkResult | None) -> None:
        if result is None:
            self._note_crash(chunk)
            return
        span = slice(chunk.first, chunk.last)
        self.accepted[span] = result.accepted
        self.colored[span] = result.colored
        self.sizes[span] = result.sizes
        self.digests[span] = result.digests
        self.file_digests[span] = result.file_digests
        if result.mode_names:
            self.modes[span] = np.array([self._index_mode(mode) for mode in result.mode_names])[result.modes]
        for index, reason in result.rejected.items():
            self.rejected[chunk.first + index] = self._reasons.setdefault(reason, reason)
        for index, fault in result.faults.items():
            self._faults.add(self.archive.members.names[chunk.first + index], fault)
        for index, preview in result.previews.items():
            self.previews[chunk.first + index] = preview
        self._regions.append(_Region(chunk.slot, int(np.count_nonzero(result.accepted)), result.channels))

    def _note_crash(self, chunk: Chunk) -> None:
        self.rejected[chunk.first] = CRASHED
        self._crashes += 1
        if self._crashes > MAX_CRASHES:  # each costs a process, or the time until one counts as hung
            self._faults.add("", f"more than {MAX_CRASHES} images end the decoder")
            self._faults.raise_any()

    def _index_mode(self, mode: str) -> int:
        if mode not in self.mode_names:
            self.mode_names.append(mode)
        return self.mode_names.index(mode)

    def iterate_pixels(self, color_mode: ColorMode) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield the accepted images in the archive's order, uint8 ``(any, size, size, channels)``."""
        side, channels = self._job.image_size, CHANNELS[color_mode]
        file = os.open(self._job.spool, os.O_RDONLY)
        try:
            for region in sorted(self._regions, key=lambda region: region.slot):
                length = region.count * side * side * region.channels
                data = os.pread(file, length, region.slot * side * side * 3)
                pixels = np.frombuffer(data, np.uint8).reshape(region.count, side, side, region.channels)
                yield pixels if region.channels == channels else np.repeat(pixels, channels, axis=3)
        finally:
            os.close(file)

    def iterate_paths(self) -> Iterator[str]:
        """Yield the paths of the accepted images in the archive's order."""
        names = self.archive.members.names
        return (names[position] for position in np.flatnonzero(self.accepted).tolist())
