"""Random changes to whole batches at once, drawn for each image anew."""

from collections.abc import Callable

import torch

from core.domain.training_options import Augmentation
from core.training.colors import erase, recolor, relight
from core.training.geometry import move, moves

Augment = Callable[[torch.Tensor], torch.Tensor]

# Named strengths. None flips: a mirrored digit is another sign. Colour is changed where there is colour.
STRENGTHS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "light": Augmentation(rotation=10, translate=0.08, scale=0.1, brightness=0.1, contrast=0.15),
    "strong": Augmentation(
        rotation=15,
        translate=0.1,
        scale=0.2,
        shear=10,
        brightness=0.2,
        contrast=0.3,
        saturation=0.3,
        hue=0.05,
        erasing=0.25,
        elastic=0.7,
    ),
}


def make_augment(chosen: str | Augmentation, *, channels: int) -> Augment | None:
    """Return the function that changes a batch ``(batch, channels, height, width)`` of 0–255, or None for none.

    Every draw is from torch's global generator of the images' device.
    """
    options = STRENGTHS[chosen] if isinstance(chosen, str) else chosen
    steps: list[Callable[[torch.Tensor, Augmentation], torch.Tensor]] = []
    if moves(options):
        steps.append(move)
    if options.brightness or options.contrast:
        steps.append(relight)
    if channels > 1 and (options.saturation or options.hue):
        steps.append(recolor)
    if options.erasing:
        steps.append(erase)

    def augment(images: torch.Tensor) -> torch.Tensor:
        for step in steps:
            images = step(images, options)
        return images

    return augment if steps else None
