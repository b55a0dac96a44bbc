from pathlib import Path

import bench
from bench.__main__ import BENCHES


def test_every_benchmark_is_asked_once():
    folder = Path(bench.__file__).parent
    asked = [file.stem for file in folder.glob("*.py") if f'run_command("{file.stem}"' in file.read_text()]

    assert sorted(BENCHES) == sorted(asked)
