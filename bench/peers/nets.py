"""The nets of the plain script: LeNet-5 and the wide one, layer by layer those of the product's catalogue."""

import torch
from torch import nn


class LeNet5(nn.Module):
    """Takes ``(batch, 1, 28, 28)``; the padding makes of it what the catalogue's takes from 32 pixels a side."""

    SIDE, CHANNELS, PADDING = 28, 1, 2

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(self.CHANNELS, 6, 5, padding=self.PADDING),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(images)
        return logits


class ColorLeNet5(LeNet5):
    """Takes ``(batch, 3, 32, 32)``."""

    SIDE, CHANNELS, PADDING = 32, 3, 0


class Wide(nn.Module):
    """Takes ``(batch, 1, 32, 32)``."""

    SIDE, CHANNELS = 32, 1

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_block(1, 32),
            *_block(32, 64),
            *_block(64, 128),
            nn.Flatten(),
            nn.Linear(128 * 4 * 4, 64),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(64, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(images)
        return logits


def _block(taken: int, given: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(taken, given, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(given), nn.ReLU(), nn.MaxPool2d(2)


NETS: dict[str, type[LeNet5 | Wide]] = {"lenet5": LeNet5, "color": ColorLeNet5, "wide": Wide}
