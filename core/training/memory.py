"""How the process deals with memory that a step has used."""

import ctypes

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 2**29


def keep_memory() -> bool:
    """Keep what a step frees for the next one, up to half a gigabyte; return whether the C library can.

    Every step asks for the same few megabytes. Given back to the kernel each time, they come as pages that must be
    zeroed and mapped again, which is a tenth to a fifth of a training's time.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(set_option(_TRIM_THRESHOLD, _KEPT_BYTES) and set_option(_MMAP_THRESHOLD, _KEPT_BYTES))
