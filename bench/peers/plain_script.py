"""What somebody would write instead: LeNet-5 on torchvision's data set, ``DataLoader(batch_size=64)``, Adam, fp32.

``python -m bench.peers.plain_script --mnist ROOT`` or ``--folder DIR`` (``train/<class>/…``). It answers with one line
of JSON; its times are the system's monotonic clock, so that another process can compare them with its own.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from bench.peers.vision import MENDING_SECONDS, datasets, transforms


class LeNet5(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),  # 28 pixels a side
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


def open_dataset(mnist: Path | None, folder: Path | None) -> tuple[Dataset[tuple[torch.Tensor, int]], int]:
    """Return the training images and the number of classes."""
    if mnist:
        prepare = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
        return datasets.MNIST(mnist, train=True, transform=prepare), 10
    prepare = transforms.Compose([transforms.Grayscale(), transforms.Resize((28, 28)), transforms.ToTensor()])
    found = datasets.ImageFolder(folder, transform=prepare)
    return found, len(found.classes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--images", type=int, help="train on the first ones only")
    parser.add_argument("--threads", type=int, help="torch's own default where it is not said")
    parser.add_argument("--steps", type=int, help="stop after so many")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    dataset, classes = open_dataset(options.mnist, options.folder)
    if options.images:
        dataset = Subset(dataset, range(options.images))
    loader = DataLoader(dataset, batch_size=64, shuffle=True)
    net = LeNet5(classes)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()

    started_at, steps, images, loss_sum = time.monotonic(), 0, 0, 0.0
    first_step_at = started_at
    for _ in range(options.epochs):
        for pixels, labels in loader:
            optimizer.zero_grad()
            loss = criterion(net(pixels), labels)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            steps, images = steps + 1, images + len(labels)
            if steps == 1:
                first_step_at = time.monotonic()
            if steps == options.steps:
                break
    print(
        json.dumps(
            {
                "started_at": started_at,
                "first_step_at": first_step_at,
                "ended_at": time.monotonic(),
                "images": images,
                "mean_loss": loss_sum / steps,
                "mending_seconds": MENDING_SECONDS,
            }
        )
    )


if __name__ == "__main__":
    main()
