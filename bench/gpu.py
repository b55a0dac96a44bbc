"""How fast is a GPU used? LeNet-5's images a second, the pack in its memory, over sent batches and the plain script.

Steps of the torch engine on noise, timed until the GPU has done the last of them, by where the images come from: the
GPU's own memory, pinned memory a batch ahead, or the mapped file as it is read on a processor; in both precisions. The
peer is the plain script's loop on MNIST on the same GPU. Where there is no GPU, nothing is measured.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from bench.command import run_command
from bench.figures import Figure, alternate, divide
from bench.mnist import make_torchvision_root
from bench.noise_pack import write_noise_pack
from bench.platform import LENET5
from bench.programs import ask_program
from core.datasets.packs import Pack
from core.domain.training_config import resolve
from core.training.batches import Batches, MappedBatches, ResidentBatches, StreamedBatches
from core.training.contract import Device
from core.training.engines import Setup, Step
from core.training.images import Positions
from core.training.torch_engine import TorchEngine

_SOURCES: Mapping[str, Callable[[Pack, torch.device], Batches]] = {
    "resident": ResidentBatches,
    "sent ahead": StreamedBatches,
    "sent when wanted": MappedBatches,
}
# The script's, and one that gives a GPU more to do than to be told what to do.
_BATCHES = (64, 1024)
_IMAGES, _QUICK_IMAGES = 60_000, 6000


def measure(quick: bool) -> Iterator[Figure]:
    """Yield ratios and speeds, or say that there is no GPU."""
    if not torch.cuda.is_available():
        print("  no GPU here that torch can use: nothing was measured", flush=True)
        return
    print(f"  the GPU is {torch.cuda.get_device_name()}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        images, rounds = (_QUICK_IMAGES, 2) if quick else (_IMAGES, 5)
        root = make_torchvision_root(folder / "torchvision")
        script = {"plain script": lambda: time_script("cuda", root, images)}
        pack = Pack.open(write_noise_pack(folder / "pack", images=images))
        for batch in _BATCHES:
            sides = make_sides("cuda", pack, batch)
            yield from compare(batch, {**sides, **script}, rounds=rounds)


def compare(batch: int, sides: Mapping[str, Callable[[], float]], *, rounds: int) -> Iterator[Figure]:
    """Yield how many times as fast the first side is as each other one, and the speed of each."""
    found = alternate(sides, rounds=rounds)
    first, *others = found
    for other in others:
        yield Figure(f"batches of {batch}: {first} over {other}", divide(found[first], found[other]), "×")
    for side, speeds in found.items():
        yield Figure(f"batches of {batch}: {side}", speeds, "images/s")


def make_sides(device: Device, pack: Pack, batch: int) -> dict[str, Callable[[], float]]:
    """Return what measures images a second, by name: each source in single precision, the resident one in half too."""
    sides = {name: make_side(device, pack, batch, precision="fp32", source=name) for name in _SOURCES}
    return {**sides, "resident, bf16": make_side(device, pack, batch, precision="bf16", source="resident")}


def make_side(device: Device, pack: Pack, batch: int, *, precision: str, source: str) -> Callable[[], float]:
    """Return what trains on all images of a pack once and returns how many a second that were."""
    train = pack.indices("train")
    config = resolve({**LENET5, "color_mode": "grayscale", "batch_size": batch, "precision": precision, "epochs": 1})
    engine = TorchEngine(Setup(config, pack, device, 1, train))
    engine.batches = _SOURCES[source](pack, engine.device)
    take_epoch(engine, train[: 2 * batch], batch)  # What is made once is made now.
    order = np.random.default_rng(0).permutation(train)
    return lambda: len(order) / take_epoch(engine, order, batch)


def take_epoch(engine: TorchEngine, order: Positions, batch: int) -> float:
    """Train on images in this order, and return the seconds until the device has done the last step."""
    cuts = [order[start : start + batch] for start in range(0, len(order), batch)]
    engine.start_sums(loss=0.0, right=0)
    started = time.perf_counter()
    for number, (cut, following) in enumerate(zip(cuts, [*cuts[1:], order[:0]], strict=True)):
        engine.train(cut, Step(epoch=1, batch=number, learning_rate=1e-3))
        engine.expect(following)
    engine.read_sums()
    return time.perf_counter() - started


def time_script(device: Device, root: Path, images: int) -> float:
    """Return the plain script's images a second."""
    arguments = ("--mnist", str(root), "--images", str(images), "--device", device)
    answer = ask_program("bench.peers.plain_script", *arguments)
    return images / (float(answer["ended_at"]) - float(answer["started_at"]))


if __name__ == "__main__":
    run_command("gpu", __doc__, measure)
