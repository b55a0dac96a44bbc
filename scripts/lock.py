"""Writes ``constraints.txt`` and ``locks/``: what is installed in this environment, and the hashes of its files.

``constraints.txt`` has the versions that were seen working together. A lock has, for one extra, each package at that
version with the SHA-256 of every file that an index may offer of it, for any Python and platform; uv asks the index
that it is configured with, and no address is written down.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "constraints.txt"
LOCKS = ROOT / "locks"
# Everything that is developed with; what each image has.
EXTRAS = ("dev", "api", "worker")
# What builds our own package: installed beforehand too, so that a build fetches nothing.
BUILD = "setuptools"
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


def write_constraints() -> None:
    """Write the versions that are installed."""
    freeze = [sys.executable, "-m", "pip", "freeze", "--all", "--exclude-editable", "--exclude", "pip"]
    frozen = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout
    TARGET.write_text(HEADER + "\n".join(pins(frozen)) + "\n")


def write_lock(extra: str) -> None:
    """Write the hashes of what an extra brings, but for what differs by machine."""
    with tempfile.TemporaryDirectory() as folder:
        build, answer = Path(folder) / "build.in", Path(folder) / "lock.txt"
        build.write_text(f"{BUILD}\n")
        command = [
            *[sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"],
            *["--no-header", "--no-annotate", "--no-emit-index-url", "--python-version", "3.11", "--extra", extra],
            *["--constraint", "constraints.txt", "--constraint", "constraints-cpu.txt"],
            *["--output-file", str(answer), "pyproject.toml", str(build)],
        ]
        subprocess.run(command, check=True, cwd=ROOT)
        header = f"# The extra `{extra}` at the versions of constraints.txt, with its files' hashes; see `make lock`.\n"
        (LOCKS / f"{extra}.txt").write_text(header + without_machine(answer.read_text()))


def without_machine(locked: str) -> str:
    """Return a lock without the packages whose right file depends on the machine."""
    kept, keeps = [], True
    for line in locked.splitlines(keepends=True):
        keeps = keeps if line.startswith(" ") else not is_by_machine(line)
        kept += [line] if keeps else []
    return "".join(kept)


def main() -> None:
    """Write the files."""
    write_constraints()
    LOCKS.mkdir(exist_ok=True)
    for extra in EXTRAS:
        write_lock(extra)


if __name__ == "__main__":
    main()
