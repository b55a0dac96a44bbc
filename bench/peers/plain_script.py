"""What somebody would write instead: LeNet-5 on torchvision's data set, ``DataLoader(batch_size=64)``, Adam, fp32.

``python -m bench.peers.plain_script --mnist ROOT``, ``--folder DIR`` (``train/<class>/…``), or ``--zip ARCHIVE``, which
is unpacked first. It answers with one line of JSON; its times are the system's monotonic clock, so that another process
can compare them with its own. It looks at the test images only where it is asked for an accuracy, and that look is not
counted as training.
"""

import argparse
import json
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from bench.peers.nets import NETS
from bench.peers.vision import MENDING_SECONDS, datasets, transforms

Images = Dataset[tuple[torch.Tensor, int]]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--mnist", type=Path)
    source.add_argument("--folder", type=Path)
    source.add_argument("--zip", type=Path)
    parser.add_argument("--net", choices=NETS, default="lenet5")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--images", type=int, help="train on the first ones only")
    parser.add_argument("--threads", type=int, help="torch's own default where it is not said")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, help="stop after so many")
    parser.add_argument("--until-accuracy", type=float, help="stop after an epoch with such a test accuracy, 0–1")
    parser.add_argument("--test", action="store_true", help="measure the test accuracy after the last epoch")
    options = parser.parse_args()
    if options.folder and (options.test or options.until_accuracy is not None):
        parser.error("--folder has no test images")
    return options


@contextmanager
def open_images(options: argparse.Namespace) -> Iterator[tuple[Images, Images | None]]:
    """Yield the training images and, where they are looked at, the test images."""
    looks = options.test or options.until_accuracy is not None
    test: Images | None = None
    with tempfile.TemporaryDirectory() as temporary:
        unpacked = Path(temporary)
        if options.zip:
            zipfile.ZipFile(options.zip).extractall(unpacked)
        if options.mnist:
            images, test = open_mnist(options, train=True), open_mnist(options, train=False)
        else:
            images = open_folder(options.folder or unpacked / "train", options)
            if looks:
                test = open_folder(unpacked / "test", options)
        yield Subset(images, range(options.images)) if options.images else images, test if looks else None


def open_mnist(options: argparse.Namespace, *, train: bool) -> Images:
    margin = (NETS[options.net].SIDE - 28) // 2
    steps = [transforms.Pad(margin)] if margin else []
    prepare = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    images: Images = datasets.MNIST(options.mnist, train=train, transform=prepare)
    return images


def open_folder(folder: Path, options: argparse.Namespace) -> Images:
    net = NETS[options.net]
    steps = [transforms.Grayscale()] if net.CHANNELS == 1 else []
    prepare = transforms.Compose([*steps, transforms.Resize((net.SIDE, net.SIDE)), transforms.ToTensor()])
    images: Images = datasets.ImageFolder(folder, transform=prepare)
    return images


class Script:
    """The training, and what it has to tell."""

    def __init__(self, images: Images, test: Images | None, options: argparse.Namespace, *, classes: int) -> None:
        self.options, self.test = options, test
        self.loader = DataLoader(images, batch_size=64, shuffle=True)
        self.net = NETS[options.net](classes).to(options.device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)
        self.criterion = nn.CrossEntropyLoss()
        self.steps, self.images, self.loss_sum = 0, 0, 0.0
        self.first_step_at: float | None = None
        self.epoch_seconds: list[float] = []
        self.accuracy: float | None = None

    def train(self) -> None:
        """Train until what the options say is reached."""
        for _ in range(self.options.epochs):
            started = time.monotonic()
            self.train_epoch()
            self.epoch_seconds.append(time.monotonic() - started)
            if self.test and self.options.until_accuracy is not None:
                self.accuracy = self.measure_accuracy(self.test)
                if self.accuracy >= self.options.until_accuracy:
                    return
            if self.options.steps and self.steps >= self.options.steps:
                break
        if self.test:
            self.accuracy = self.measure_accuracy(self.test)

    def train_epoch(self) -> None:
        self.net.train()
        for batch in self.loader:
            pixels, labels = (tensor.to(self.options.device) for tensor in batch)
            self.optimizer.zero_grad()
            loss = self.criterion(self.net(pixels), labels)
            loss.backward()
            self.optimizer.step()
            self.loss_sum += loss.item()
            self.steps, self.images = self.steps + 1, self.images + len(labels)
            if self.first_step_at is None:
                self.first_step_at = time.monotonic()
            if self.steps == self.options.steps:
                return

    @torch.no_grad()
    def measure_accuracy(self, test: Images) -> float:
        self.net.eval()
        right = seen = 0
        for batch in DataLoader(test, batch_size=1000):
            pixels, labels = (tensor.to(self.options.device) for tensor in batch)
            right += int((self.net(pixels).argmax(1) == labels).sum())
            seen += len(labels)
        return right / seen


def main() -> None:
    options = parse_arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    with open_images(options) as (images, test):
        script = Script(images, test, options, classes=10)
        started_at = time.monotonic()
        script.train()
        ended_at = time.monotonic()
    print(json.dumps(describe(script, started_at, ended_at)))


def describe(script: Script, started_at: float, ended_at: float) -> dict[str, Any]:
    return {
        "started_at": started_at,
        "first_step_at": script.first_step_at,
        "ended_at": ended_at,
        "images": script.images,
        "epoch_seconds": script.epoch_seconds,
        "mean_loss": script.loss_sum / script.steps,
        "accuracy": script.accuracy,
        "mending_seconds": MENDING_SECONDS,
    }


if __name__ == "__main__":
    main()
