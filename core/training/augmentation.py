"""Random changes to whole batches at once, drawn for each image anew."""

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from core.domain.training_options import Augmentation

Augment = Callable[[torch.Tensor], torch.Tensor]

# Named strengths. None flips: a mirrored digit is another sign.
STRENGTHS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "light": Augmentation(rotation=10, translate=0.08, scale=0.1, brightness=0.1, contrast=0.15),
}


def make_augment(chosen: str | Augmentation) -> Augment | None:
    """Return the function that changes a batch ``(batch, channels, height, width)`` of 0–255, or None for none."""
    options = STRENGTHS[chosen] if isinstance(chosen, str) else chosen
    steps: list[Augment] = []
    if options.rotation or options.translate or options.scale:
        steps.append(lambda images: move(images, options))
    if options.brightness or options.contrast:
        steps.append(lambda images: relight(images, options))
    return (lambda images: _apply(steps, images)) if steps else None


def _apply(steps: list[Augment], images: torch.Tensor) -> torch.Tensor:
    for step in steps:
        images = step(images)
    return images


def move(images: torch.Tensor, options: Augmentation) -> torch.Tensor:
    """Turn, shift and zoom each image; the border's pixels go on outwards."""
    grid = functional.affine_grid(draw_affine(images, options), list(images.shape), align_corners=False)
    # Sampling reads faster where each channel lies together.
    planes = images.contiguous()
    moved = functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last)


def draw_affine(images: torch.Tensor, options: Augmentation) -> torch.Tensor:
    """Return a matrix for each image ``(batch, 2, 3)``, in units of half the side."""
    turn = _draw(images, options.rotation * math.pi / 180)
    zoom = 1 + _draw(images, options.scale)
    cosine, sine = torch.cos(turn) / zoom, torch.sin(turn) / zoom
    right, down = _draw(images, 2 * options.translate), _draw(images, 2 * options.translate)
    rows = torch.stack((cosine, -sine, right, sine, cosine, down), dim=1)
    return rows.view(-1, 2, 3)


def relight(images: torch.Tensor, options: Augmentation) -> torch.Tensor:
    """Change each image's contrast about its own mean, and its brightness; the range stays 0–255."""
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    contrast = 1 + _draw(images, options.contrast).view(-1, 1, 1, 1)
    brightness = _draw(images, 255 * options.brightness).view(-1, 1, 1, 1)
    return torch.addcmul(middle * (1 - contrast) + brightness, images, contrast).clamp_(0, 255)


def _draw(images: torch.Tensor, most: float) -> torch.Tensor:
    """Return one number in -most…most for each image, from the global generator."""
    return torch.empty(len(images), device=images.device).uniform_(-most, most)
