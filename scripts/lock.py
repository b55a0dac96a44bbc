"""Writes ``constraints.txt``: the versions that are installed in this environment, and seen working together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "constraints.txt"
# They differ between machines with and without an NVIDIA driver; constraints-cpu.txt pins them for the latter.
BY_MACHINE = ("torch", "torchvision", "triton")
BY_MACHINE_PREFIXES = ("nvidia-", "cuda-")
HEADER = """\
# Every package of the development environment but torch, at versions seen working together.
# Written by `make lock`; `make` installs under these pins.
"""


def pins(frozen: str) -> list[str]:
    """Return the plain ``name==version`` lines of a freeze: no address, nothing editable, nothing by machine."""
    lines = (line.strip() for line in frozen.splitlines())
    return sorted((line for line in lines if "==" in line and not is_by_machine(line)), key=str.casefold)


def is_by_machine(line: str) -> bool:
    """Return whether a package's right version depends on the machine."""
    name = line.partition("==")[0].lower()
    return name in BY_MACHINE or name.startswith(BY_MACHINE_PREFIXES)


def main() -> None:
    """Write the file."""
    freeze = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    frozen = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout
    TARGET.write_text(HEADER + "\n".join(pins(frozen)) + "\n")


if __name__ == "__main__":
    main()
