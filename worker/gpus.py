"""Whether torch can use a GPU here, asked without loading torch into the supervisor."""

import subprocess
import sys
from pathlib import Path

_DRIVER = Path("/proc/driver/nvidia/version")
# A torch that was built for a processor alone, a driver that is too old or a container without the device: no GPU.
_PROGRAM = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 'torch sees none')"
_SECONDS = 120.0


def find_driver(driver: Path = _DRIVER) -> bool:
    """Return whether an NVIDIA driver is loaded; a container sees its host's, with or without a GPU of its own."""
    return driver.exists()


def why_no_gpu(program: str = _PROGRAM, *, timeout_seconds: float = _SECONDS) -> str | None:
    """Return ``None`` where torch can use a GPU, else why not. It takes seconds, in a process of its own."""
    command = [sys.executable, "-c", program]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, check=False)  # noqa: S603 - our own program
    except subprocess.TimeoutExpired:
        return f"torch did not answer within {timeout_seconds:g} s"
    if done.returncode == 0:
        return None
    said = done.stderr.strip().splitlines()
    return said[-1] if said else f"torch ended with code {done.returncode}"
