import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from core.training.weights_file import write_weights_file

WEIGHTS = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.bias": np.array([1.5], np.float32),
    "a.count": np.array(3, np.int64),
}
METADATA = {f"entry {number}": "ä" * number for number in range(9)}


@pytest.fixture
def path(tmp_path):
    write_weights_file(tmp_path / "model.safetensors", WEIGHTS, METADATA)
    return tmp_path / "model.safetensors"


def test_the_library_reads_what_was_written(path):
    stored = load_file(path)
    assert stored.keys() == WEIGHTS.keys()
    for name, array in WEIGHTS.items():
        np.testing.assert_array_equal(stored[name], array, strict=True)
    with safe_open(path, "np") as file:
        assert file.metadata() == METADATA


def test_numbers_are_aligned_and_metadata_is_in_order(path):
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    assert list(json.loads(content[8 : 8 + length])["__metadata__"]) == sorted(METADATA)


WRITE = """
import sys
import numpy as np
from pathlib import Path
from core.training.weights_file import write_weights_file
write_weights_file(Path(sys.argv[1]), {"w": np.ones(3, np.float32)}, {str(n): "x" for n in range(20)})
"""


def test_two_processes_write_the_same_bytes(tmp_path):
    paths = [tmp_path / name for name in ("one", "two")]
    for path in paths:
        subprocess.run([sys.executable, "-c", WRITE, str(path)], check=True)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_two_equal_trainings_give_the_same_files(run, engine):
    first, again = (run({"epochs": 1, "engine": engine, "precision": "fp32"})[2] for _ in range(2))
    for name in ("model.safetensors", "model.pth", "model.npz", "model.onnx", "config.json", "report.json"):
        assert first[name].read_bytes() == again[name].read_bytes(), name
