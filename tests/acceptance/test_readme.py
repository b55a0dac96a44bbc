"""What the README tells a new user to type does what it says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from demo.platform import Platform

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, small_archive: Path, platform: Platform) -> Path:
    """Return a folder as the README supposes it: pictures, and the key in the data directory."""
    shutil.copy(small_archive, tmp_path / "pictures.zip")
    Image.new("L", (40, 40), 90).save(tmp_path / "picture.jpg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "api-key").write_text(platform.key)
    return tmp_path


def _block(name: str) -> str:
    """Return the code between the marks ``name: begin`` and ``name: end``."""
    found = re.search(rf"<!-- {name}: begin -->\n```\w+\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, f"the README has no block {name}"
    return found[1]


def _run(command: list[str], code: str, folder: Path, platform: Platform) -> str:
    local = code.replace("http://127.0.0.1:8000", platform.url)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LENET_URL": platform.url, "LENET_API_KEY": platform.key}
    done = subprocess.run(
        [*command, local], cwd=folder, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def test_the_curl_block_uploads_trains_predicts_and_downloads(folder: Path, platform: Platform) -> None:
    shown = _run(["bash", "-euo", "pipefail", "-c"], _block("curl"), folder, platform)
    assert '"predictions"' in shown
    load = "import torch; print(len(torch.load('model.pth', weights_only=True)))"
    assert int(_run([sys.executable, "-c"], load, folder, platform)) > 4


def test_the_python_block_does_the_same(folder: Path, platform: Platform) -> None:
    shown = _run([sys.executable, "-c"], _block("python"), folder, platform)
    assert "succeeded" in shown
    assert (folder / "model.onnx").stat().st_size > 10_000
