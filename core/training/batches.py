"""Whole batches of a pack as tensors on a device: read from the map, from the device's own memory, or sent ahead."""

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from core.datasets.packs import Pack
from core.training.images import Positions

# Of the memory that is free on a GPU, so that two trainings that start at once leave a third for their steps.
_LARGEST_SHARE = 1 / 3
_IMAGES_OF_A_PART = 4096


class Batches(Protocol):
    """Batches of a pack on a device.

    Attributes:
        source: Where the images are read from, in words.
    """

    source: str

    def images(self, positions: Positions) -> torch.Tensor:
        """Return float ``(batch, channels, height, width)``, raw pixels in 0–255, channels last in memory."""

    def take(self, positions: Positions) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the images and their labels, int64 ``(batch,)``."""

    def expect(self, positions: Positions) -> None:
        """Begin to bring the images that are likely to be wanted next; none where ``positions`` is empty."""


def open_batches(pack: Pack, device: torch.device) -> Batches:
    """Return the fastest source of batches that the device has room for. Nothing here waits for a GPU's steps."""
    if device.type != "cuda":
        return MappedBatches(pack, device)
    free_bytes, _ = torch.cuda.mem_get_info(device)
    if fits(pack.pixels.nbytes, free_bytes):
        try:
            return ResidentBatches(pack, device)
        except torch.OutOfMemoryError:
            pass  # Another training has taken the room since: a batch at a time still goes.
    return StreamedBatches(pack, device)


def fits(size_bytes: int, free_bytes: int) -> bool:
    """Return whether a pack of such a size may lie in a device's memory of which so much is free."""
    return size_bytes <= free_bytes * _LARGEST_SHARE


class MappedBatches:
    """Batches gathered from the mapped file: for a processor, whose memory it is."""

    source = "the mapped pack"

    def __init__(self, pack: Pack, device: torch.device) -> None:
        self._pack, self._device = pack, device

    def images(self, positions: Positions) -> torch.Tensor:
        """See `Batches`."""
        return _to_images(send(np.take(self._pack.pixels, positions, axis=0), self._device))

    def take(self, positions: Positions) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Batches`."""
        return self.images(positions), send(self._pack.labels[positions].astype(np.int64), self._device)

    def expect(self, positions: Positions) -> None:
        """Do nothing: what is read is there at once."""


class ResidentBatches:
    """Batches gathered on the device from a copy of the whole pack: of a batch, only its positions are sent."""

    source = "the device's own memory"

    def __init__(self, pack: Pack, device: torch.device) -> None:
        self._device = device
        self._pixels = torch.empty(pack.pixels.shape, dtype=torch.uint8, device=device)
        for start in range(0, len(pack), _IMAGES_OF_A_PART):
            part = slice(start, start + _IMAGES_OF_A_PART)
            self._pixels[part] = torch.from_numpy(pack.pixels[part].copy())
        self._labels = torch.from_numpy(pack.labels.astype(np.int64)).to(device)

    def images(self, positions: Positions) -> torch.Tensor:
        """See `Batches`."""
        return self._gather(send(positions, self._device))

    def take(self, positions: Positions) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Batches`."""
        places = send(positions, self._device)
        return self._gather(places), self._labels.index_select(0, places)

    def _gather(self, places: torch.Tensor) -> torch.Tensor:
        return _to_images(self._pixels.index_select(0, places))

    def expect(self, positions: Positions) -> None:
        """Do nothing: every image is there."""


class StreamedBatches:
    """Batches sent from pinned memory while the device still computes on the one before.

    Two lanes take turns: one is filled while the device uses what came by the other.
    """

    source = "the mapped pack, a batch ahead through pinned memory"

    def __init__(self, pack: Pack, device: torch.device) -> None:
        self._labels, self._device = pack.labels, device
        self._lane, self._other = _Lane(pack, device), _Lane(pack, device)
        self._expected: Positions | None = None

    def images(self, positions: Positions) -> torch.Tensor:
        """See `Batches`."""
        if self._expected is None or not np.array_equal(positions, self._expected):
            self.expect(positions)
        self._expected = None
        return _to_images(self._lane.receive())

    def take(self, positions: Positions) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Batches`."""
        return self.images(positions), send(self._labels[positions].astype(np.int64), self._device)

    def expect(self, positions: Positions) -> None:
        """See `Batches`."""
        if len(positions):
            self._lane, self._other = self._other, self._lane
            self._lane.send(positions)
            self._expected = positions


class _Lane:
    """Pinned memory for one batch, and the stream by which its images travel. Without a GPU, a plain copy."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        self._pixels, self._device = pack.pixels, device
        self._pinned = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._pinned else None  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._left = torch.cuda.Event() if self._pinned else None  # type: ignore[no-untyped-call]  # as above
        self._room = self._make_room(0)
        self._sent = self._room

    def _make_room(self, images: int) -> torch.Tensor:
        return torch.empty((images, *self._pixels.shape[1:]), dtype=torch.uint8, pin_memory=self._pinned)

    def send(self, positions: Positions) -> None:
        """Gather the images and send them off."""
        if self._left is not None:
            self._left.synchronize()  # Only of the batch before the last, which has long left this memory.
        if len(positions) > len(self._room):
            self._room = self._make_room(len(positions))
        filled = self._room[: len(positions)]
        # Any other mode gathers into a memory of its own first.
        np.take(self._pixels, positions, axis=0, out=filled.numpy(), mode="clip")
        with torch.cuda.stream(self._stream):
            self._sent = filled.to(self._device, non_blocking=True)
            if self._left is not None:
                self._left.record(self._stream)

    def receive(self) -> torch.Tensor:
        """Return what was sent last, uint8 ``(batch, height, width, channels)``; only the device waits for it."""
        if self._left is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(self._left)
            self._sent.record_stream(current)
        return self._sent


def send(values: npt.NDArray[np.int64] | npt.NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Return an array on a device. Pinned on its way to a GPU: a copy from other memory would wait for every step."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _to_images(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.permute(0, 3, 1, 2).to(torch.float32)
