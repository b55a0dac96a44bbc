"""Whole batches of a pack as tensors."""

import numpy as np
import torch

from core.datasets.packs import Pack
from core.training.images import Positions


class Batches:
    """Batches of a pack on a device."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        self._pixels = pack.pixels
        self._labels = pack.labels
        self._device = device

    def images(self, positions: Positions) -> torch.Tensor:
        """Return float ``(batch, channels, height, width)``, raw pixels in 0–255, channels last in memory."""
        pixels = torch.from_numpy(np.take(self._pixels, positions, axis=0)).to(self._device, non_blocking=True)
        return pixels.permute(0, 3, 1, 2).to(torch.float32)

    def labels(self, positions: Positions) -> torch.Tensor:
        """Return int64 ``(batch,)``."""
        return torch.from_numpy(self._labels[positions].astype(np.int64)).to(self._device, non_blocking=True)
