"""Random changes of light, colour and cover of whole batches, drawn for each image."""

import math
from functools import lru_cache

import torch

from core.domain.training_options import Augmentation

# Of the luma that a change of colour keeps (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)
# Zhong and others: Random erasing data augmentation (2017), section 3.2: area of the image and aspect of a rectangle.
_ERASED_LEAST, _ERASED_MOST = 0.02, 0.4
_ASPECT_MOST = 3.3


def relight(images: torch.Tensor, options: Augmentation) -> torch.Tensor:
    """Change each image's contrast about its own mean, and its brightness; the range stays 0–255."""
    contrast = _draw(images, 1 - options.contrast, 1 + options.contrast).view(-1, 1, 1, 1)
    brightness = _draw(images, -255 * options.brightness, 255 * options.brightness).view(-1, 1, 1, 1)
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    return torch.addcmul(torch.addcmul(brightness, middle, 1 - contrast), images, contrast).clamp_(0, 255)


def recolor(images: torch.Tensor, options: Augmentation) -> torch.Tensor:
    """Change each image's saturation and hue; its luma stays where the range 0–255 allows it.

    Args:
        images: Float ``(batch, 3, height, width)``.
        options: How much.
    """
    batch, channels, height, width = images.shape
    saturation = _draw(images, 1 - options.saturation, 1 + options.saturation).view(-1, 1, 1)
    turn = _draw(images, -2 * math.pi * options.hue, 2 * math.pi * options.hue).view(-1, 1, 1)
    matrix = _color_matrix(saturation, turn)
    mixed = matrix @ images.reshape(batch, channels, -1)
    return mixed.clamp_(0, 255).view(batch, channels, height, width)


def _color_matrix(saturation: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Return ``(batch, 3, 3)`` that turns and stretches what is left of a colour without its luma.

    Args:
        saturation: Factors ``(batch, 1, 1)``.
        turn: Angles about the gray axis ``(batch, 1, 1)``, in radians.
    """
    luma, identity, across = _color_axes(turn.device)
    # Rodrigues' formula about the axis (1, 1, 1).
    turned = identity + torch.sin(turn) * across + (1 - torch.cos(turn)) * (across @ across)
    return luma + (identity - luma) @ (saturation * turned) @ (identity - luma)


@lru_cache(maxsize=8)
def _color_axes(device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what takes the luma, what changes nothing, and the axis's cross product, each ``(3, 3)``.

    They are sent to the device once: sending waits for all that it still computes.
    """
    luma = torch.tensor(_LUMA, device=device).expand(3, 3)
    across = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], device=device) / math.sqrt(3)
    return luma, torch.eye(3, device=device), across


def erase(images: torch.Tensor, options: Augmentation) -> torch.Tensor:
    """Fill a rectangle of some images, each with probability ``erasing``, with the image's mean."""
    batch, _, height, width = images.shape
    chance, size, aspect, down, right = torch.rand(5, batch, device=images.device).unbind()
    area = (_ERASED_LEAST + (_ERASED_MOST - _ERASED_LEAST) * size) * height * width
    stretch = torch.exp((2 * aspect - 1) * math.log(_ASPECT_MOST) / 2)
    rows = _inside(height, area.sqrt() * stretch, down)
    columns = _inside(width, area.sqrt() / stretch, right)
    hit = (chance < options.erasing)[:, None, None] & rows[:, :, None] & columns[:, None, :]
    return torch.where(hit[:, None], images.mean(dim=(2, 3), keepdim=True), images)


def _inside(side: int, length: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Return ``(batch, side)``: which pixels lie on a stretch of ``length`` pixels that lies inside the side."""
    whole = length.round().clamp(1, side)
    first = (start * (side - whole + 1)).floor()[:, None]
    places = torch.arange(side, device=length.device)
    return (places >= first) & (places < first + whole[:, None])


def _draw(images: torch.Tensor, least: float, most: float) -> torch.Tensor:
    """Return a number between the two for each image."""
    return torch.empty(len(images), device=images.device).uniform_(least, most)
