"""What the figures were measured on."""

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "torchvision", "onnxruntime", "numpy", "pillow", "celery", "gunicorn")


@dataclass(frozen=True)
class Machine:
    """A processor, its cores that may be used, and the versions that ran on it."""

    processor: str
    cores: int
    python: str
    packages: dict[str, str]

    def line(self) -> str:
        """Return it as a line to read."""
        versions = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        return f"{self.processor}, {self.cores} cores; Python {self.python}, {versions}"

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def describe_machine() -> Machine:
    """Return the machine that this runs on."""
    return Machine(
        processor=read_processor(Path("/proc/cpuinfo")),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        packages={name: found for name in _PACKAGES if (found := _version(name))},
    )


def read_processor(cpuinfo: Path) -> str:
    """Return the processor's name as the kernel gives it, else the architecture's."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
