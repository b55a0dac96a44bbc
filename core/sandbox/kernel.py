"""The kernel's calls that Python has no function for."""

import ctypes
import os
import signal
import sys
from typing import Final

_SET_PARENT_DEATH_SIGNAL: Final = 1
_SET_DUMPABLE: Final = 4
_SET_NO_NEW_PRIVILEGES: Final = 38
_SET_CAPABILITIES: Final = {"x86_64": 126, "aarch64": 91}
_CAPABILITIES_VERSION_3: Final = 0x20080522
_MAY_READ_AND_WRITE_ANY_FILE: Final = 1 << 1

_library = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: int | ctypes.c_void_p) -> int:
    """Call a function of the C library that answers with a negative number where it fails; raises `OSError`."""
    try:
        function = getattr(_library, name)
    except AttributeError as error:
        raise OSError(f"this system has no {name}") from error
    # Bare numbers would be passed as 32 bits, which is too few for the functions that take any number of arguments.
    wide = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    answer: int = function(*wide)
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def refuse_new_privileges() -> None:
    """Have no program that this process starts gain rights by being started."""
    call("prctl", _SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def refuse_inspection() -> None:
    """Close this process's memory to others of the same account, and write no core file."""
    call("prctl", _SET_DUMPABLE, 0, 0, 0, 0)


def drop_capabilities() -> None:
    """Give up what root may do beyond others, but for files: those of its own work may be another account's."""
    machine = os.uname().machine
    if machine not in _SET_CAPABILITIES:
        raise OSError(f"not written for {machine}")
    kept = _MAY_READ_AND_WRITE_ANY_FILE if os.geteuid() == 0 else 0
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION_3, 0)
    # Effective, permitted and inheritable, the lower 32 of each first.
    wanted = (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)
    call("syscall", _SET_CAPABILITIES[machine], _address(header), _address(wanted))


def _address(data: ctypes.Array[ctypes.c_uint32]) -> ctypes.c_void_p:
    return ctypes.cast(data, ctypes.c_void_p)


def end_with_parent(parent: int) -> None:
    """Have the system kill this process when its parent ends (Linux; elsewhere a closed pipe ends it).

    To the kernel the parent is the thread that has started this process. It forgets the wish when rights change, so
    this comes after whatever changes them.
    """
    if sys.platform == "linux":
        call("prctl", _SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
