"""Random moves of whole batches: every image gets an affine map and a smooth distortion of its own, in one sampling."""

import math
from functools import lru_cache

import torch
from torch.nn import functional

from core.domain.training_options import Augmentation

# Elastic distortion: one random pull every so many pixels, spread over about as many.
_PIXELS_OF_A_PULL = 6


def moves(options: Augmentation) -> bool:
    """Return whether any of ``options`` moves pixels."""
    return bool(
        options.rotation
        or options.translate
        or options.scale
        or options.squeeze
        or options.shear
        or options.horizontal_flip
        or options.vertical_flip
        or options.crop_padding
        or options.elastic
    )


def move(images: torch.Tensor, options: Augmentation) -> torch.Tensor:
    """Turn, shift, zoom, squeeze, shear, mirror and distort each image; the border's pixels go on outwards.

    Args:
        images: Float ``(batch, channels, height, width)``.
        options: How far.
    """
    batch, _, height, width = images.shape
    grid = draw_affine(images, options) @ _basis(height, width, images.device)
    if options.elastic:
        grid += draw_pulls(images, options.elastic).reshape(batch, -1)
    # Sampling reads faster where each channel lies together.
    return functional.grid_sample(
        images.contiguous(), grid.view(batch, height, width, 2), padding_mode="border", align_corners=False
    )


def draw_affine(images: torch.Tensor, options: Augmentation) -> torch.Tensor:
    """Return for each image where its pixels are looked up: the rows of a matrix ``(batch, 6)``, in half sides."""
    turn = _draw(images, math.radians(options.rotation))
    cosine, sine = torch.cos(turn), torch.sin(turn)
    wider, taller = _draw_lengths(images, options)
    rows = [cosine / wider, -sine / taller, sine / wider, cosine / taller]
    if options.shear:
        lean = torch.tan(_draw(images, math.radians(options.shear)))
        rows[1], rows[3] = (cosine * lean - sine) / taller, (sine * lean + cosine) / taller
    right, down = (_draw_shift(images, options, side) for side in (images.shape[3], images.shape[2]))
    return torch.stack((rows[0], rows[1], right, rows[2], rows[3], down), dim=1)


def _draw_lengths(images: torch.Tensor, options: Augmentation) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how many times wider and taller each image becomes; a mirrored one by less than nothing."""
    wider = taller = 1 + _draw(images, options.scale)
    if options.squeeze:
        squeeze = 1 + _draw(images, options.squeeze)
        wider, taller = wider * squeeze, taller / squeeze
    if options.horizontal_flip:
        wider = torch.copysign(wider, _draw(images, 1))
    if options.vertical_flip:
        taller = torch.copysign(taller, _draw(images, 1))
    return wider, taller


def _draw_shift(images: torch.Tensor, options: Augmentation, side: int) -> torch.Tensor:
    """Return by how many half sides each image is shifted in one direction."""
    shift = _draw(images, 2 * options.translate)
    if options.crop_padding:
        steps = torch.randint(-options.crop_padding, options.crop_padding + 1, (len(images),), device=images.device)
        shift = shift + steps * (2 / side)
    return shift


def _draw(images: torch.Tensor, most: float) -> torch.Tensor:
    """Return a number in -most…most for each image."""
    return torch.empty(len(images), device=images.device).uniform_(-most, most)


def draw_pulls(images: torch.Tensor, strength: float) -> torch.Tensor:
    """Return a smooth field ``(batch, height, width, 2)`` for each image, in half sides.

    Simard, Steinkraus, Platt: Best practices for convolutional neural networks (2003), section 2: random
    displacements, smoothed by a Gaussian. Here they are drawn on a coarse grid, so that little is drawn; ``strength``
    is their deviation in pixels at every place.
    """
    batch, _, height, width = images.shape
    rows, columns = (_smoothing(side, images.device) for side in (height, width))
    drawn = torch.randn(batch, 2, rows.shape[1], columns.shape[1], device=images.device)
    field = rows @ drawn @ columns.T
    return (field * (2 * strength / _sides(height, width, images.device))).movedim(1, -1)


@lru_cache(maxsize=8)
def _sides(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Return the sides in pixels ``(2, 1, 1)``, width first; sent once, for sending waits for a GPU's steps."""
    return torch.tensor([width, height], device=device).view(2, 1, 1)


@lru_cache(maxsize=8)
def _basis(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Return ``(6, height · width · 2)``: what each number of an affine map adds to each pixel's coordinates.

    One matrix product then makes the grids of a whole batch, ten times as fast as ``affine_grid``.
    """
    down, right = (torch.arange(1, 2 * side, 2, device=device) / side - 1 for side in (height, width))
    rows, columns = torch.meshgrid(down, right, indexing="ij")
    parts = torch.stack((columns, rows, torch.ones_like(rows)))
    nothing = torch.zeros_like(parts)
    along, across = torch.stack((parts, nothing), dim=-1), torch.stack((nothing, parts), dim=-1)
    return torch.cat((along, across)).view(6, -1)


@lru_cache(maxsize=8)
def _smoothing(side: int, device: torch.device) -> torch.Tensor:
    """Return ``(side, pulls)``: how much each pull moves each pixel; squares of a row add up to 1."""
    pulls = math.ceil(side / _PIXELS_OF_A_PULL) + 2
    places = (torch.arange(pulls, device=device) - 1) * _PIXELS_OF_A_PULL
    distances = (torch.arange(side, device=device)[:, None] - places) / _PIXELS_OF_A_PULL
    weights = torch.exp(-(distances**2))
    return weights / weights.square().sum(dim=1, keepdim=True).sqrt()
