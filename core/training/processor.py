"""What the processor is and has, as the kernel tells it."""

import hashlib
import platform
from pathlib import Path

_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_IDENTITY = ("model name", "cpu family", "model", "stepping")
_CPUINFO = Path("/proc/cpuinfo")


def read_processor(source: Path = _CPUINFO) -> dict[str, str]:
    """Return what the kernel says of the first processor by name; nothing where it says nothing."""
    try:
        text = source.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = text.partition("\n\n")[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def name_processor(source: Path = _CPUINFO) -> str:
    """Return a name of the processor: equal names compute equal bits."""
    told = read_processor(source)
    flags = hashlib.sha256(_list_flags(told).encode()).hexdigest()[:8]
    return " ".join([platform.machine(), *(told[field] for field in _IDENTITY if field in told), flags])


def multiplies_bfloat16(source: Path = _CPUINFO) -> bool:
    """Return whether bfloat16 is multiplied in one instruction; without one it works, but slowly."""
    return bool(_BFLOAT16 & set(_list_flags(read_processor(source)).split()))


def _list_flags(told: dict[str, str]) -> str:
    return told.get("flags") or told.get("Features", "")
