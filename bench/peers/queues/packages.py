"""The peers' packages: the group ``queue-peers`` of ``pyproject.toml``, installed beside the environment, not into it.

They are in a folder of ``.venv``, so that nothing of theirs ever reaches the product or its tests, and so that
``make clean`` removes them.
"""

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_GROUP = "queue-peers"
_CONSTRAINTS = _ROOT / "constraints.txt"


def read_group(pyproject: Path = _ROOT / "pyproject.toml") -> list[str]:
    """Return the requirements of the group."""
    groups: dict[str, list[str]] = tomllib.loads(pyproject.read_text(encoding="utf-8"))["dependency-groups"]
    return groups[_GROUP]


def find_folder(home: Path, wanted: list[str]) -> Path:
    """Return where such packages are, or will be: other versions, or another Python, have another place."""
    told = "\n".join([sys.version, *wanted, _CONSTRAINTS.read_text(encoding="utf-8")])
    return home / f"{_GROUP}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def install_peers(home: Path = Path(sys.prefix)) -> Path:
    """Install the group where it is not yet, and return the folder to be put on the path."""
    wanted = read_group()
    folder = find_folder(home, wanted)
    done = folder / ".done"
    if not done.exists():
        print(f"installing {', '.join(wanted)} into {folder}", file=sys.stderr, flush=True)
        pip = [sys.executable, "-m", "pip", "install", "--no-input", "--quiet", "--quiet", "--upgrade"]
        subprocess.run([*pip, "--constraint", str(_CONSTRAINTS), "--target", str(folder), *wanted], check=True)
        done.touch()
    return folder
