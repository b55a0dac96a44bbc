"""How fast is the NumPy engine? The same batch in torch that is already loaded, one thread each (goal 9).

LeNet-5 on grayscale images of 32×32 with max pooling, ReLU and Adam in fp32. The NumPy engine draws its batch from a
pack and scales it, as in a training; the peer steps on one batch that lies ready as floats, which is the least that
torch can be asked for: channels last, a fused optimiser. Our own torch engine, with all that a training does, stands
beside them.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # Read once, when NumPy is loaded.

from bench.command import run_command  # noqa: E402 - after the line above
from bench.figures import Figure, Goal, alternate, divide, speeds  # noqa: E402 - likewise
from bench.noise_pack import CLASSES, write_noise_pack  # noqa: E402 - likewise

_CONFIG = {"preset": "lenet5-relu-max", "color_mode": "grayscale", "epochs": 1}
_IMAGES = 4096
_BATCHES = (32, 64, 128)


def measure(quick: bool) -> Iterator[Figure]:
    """Yield ratios and speeds for each batch size."""
    with tempfile.TemporaryDirectory() as folder:
        pack = write_noise_pack(Path(folder) / "pack", images=_IMAGES)
        for batch in _BATCHES:
            yield from _measure_batch(pack, batch, steps=10 if quick else 100, rounds=3 if quick else 11)


def _measure_batch(pack: Path, batch: int, *, steps: int, rounds: int) -> Iterator[Figure]:
    sides = {
        "NumPy": _time(open_ours("numpy", pack, batch), steps),
        "resident torch": _time(open_resident_torch(batch), steps),
        "torch engine": _time(open_ours("torch", pack, batch), steps),
    }
    found = alternate(sides, rounds=rounds)
    for peer, goal in (("resident torch", Goal(9, "at least", 0.3)), ("torch engine", None)):
        # Of times, the peer's over ours is how many times as fast we are.
        yield Figure(f"batches of {batch}: NumPy over {peer}", divide(found[peer], found["NumPy"]), "×", goal)
    for side, seconds in found.items():
        yield Figure(f"batches of {batch}: {side}", speeds(seconds, batch * steps), "images/s")


def _time(step: Callable[[int], None], steps: int) -> Callable[[], float]:
    step(0)

    def run() -> float:
        started = time.perf_counter()
        for number in range(steps):
            step(number)
        return time.perf_counter() - started

    return run


def open_ours(engine: str, path: Path, batch: int) -> Callable[[int], None]:
    """Return what takes one step of ours, on another batch of the pack each time."""
    from core.datasets.packs import Pack
    from core.domain.training_config import resolve
    from core.training.engine_factory import open_engine
    from core.training.engines import Setup, Step

    pack = Pack.open(path)
    train = pack.indices("train")
    opened = open_engine(Setup(resolve({**_CONFIG, "engine": engine, "batch_size": batch}), pack, "cpu", 1, train))
    starts = range(0, len(train) - batch + 1, batch)

    def step(number: int) -> None:
        start = starts[number % len(starts)]
        opened.train(train[start : start + batch], Step(epoch=1, batch=number, learning_rate=1e-3))

    return step


def open_resident_torch(batch: int) -> Callable[[int], None]:
    """Return what takes one step of torch alone, always on the same batch."""
    import torch
    from torch.nn import functional

    from core.domain.architectures import layers
    from core.domain.training_config import resolve
    from core.training.nets import build_net

    torch.set_num_threads(1)
    net = build_net(layers(resolve(_CONFIG), classes=CLASSES), (1, 32, 32))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave this form out
    images = torch.randn(batch, 1, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (batch,))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=True)

    def step(_: int) -> None:
        loss = functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()

    return step


if __name__ == "__main__":
    run_command("numpy_engine", __doc__, measure)
