"""A real platform for the acceptance tests, with short leases so that recoveries take seconds."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client.sdk import Client
from demo.platform import Platform, running_platform

QUICK = {
    "LENET_LEASE_SECONDS": "5",
    "LENET_HEARTBEAT_SECONDS": "1",
    "LENET_SWEEP_SECONDS": "1",
    "LENET_POLL_SECONDS": "2",
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Return a platform of this module's own."""
    with running_platform(tmp_path_factory.mktemp("platform"), settings=QUICK) as running:
        yield running


@pytest.fixture(scope="module")
def client(platform: Platform) -> Iterator[Client]:
    """Return a client of the administrator."""
    with Client(platform.url, platform.key) as connected:
        yield connected


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ZIP of pictures whose training takes long enough to be interrupted."""
    return _write_squares(tmp_path_factory.mktemp("archive") / "squares.zip", train=400, test=60)


@pytest.fixture(scope="session")
def small_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ZIP of few pictures, on which the default recipe takes seconds."""
    return _write_squares(tmp_path_factory.mktemp("archive") / "few.zip", train=30, test=20)


def _write_squares(path: Path, *, train: int, test: int) -> Path:
    """Write three classes of squares: bright at the top, in the middle or at the bottom."""
    draw = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as file:
        for split, count in (("train", train), ("test", test)):
            for number in range(count):
                for place, name in enumerate(("top", "middle", "bottom")):
                    pixels = draw.integers(0, 120, (28, 28))
                    pixels[4 + 7 * place : 11 + 7 * place, 6:22] += 100
                    buffer = io.BytesIO()
                    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
                    file.writestr(f"{split}/{name}/{number}.png", buffer.getvalue())
    return path
