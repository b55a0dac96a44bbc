"""The system calls that a process gives up (seccomp; no privilege is needed).

They are named rather than those that stay: Python, NumPy and Pillow take what they need of the others, which differs
between versions and machines, and a decoder that a library's update breaks is worth nothing. What is given up is what
leads out: sockets, other programs, other processes, other namespaces, and the kernel's larger and younger parts.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from core.sandbox import kernel

_SET_SECCOMP: Final = 22
_FILTER: Final = 2
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _JUMP_IF_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000
_KILL: Final = 0x80000000
_NEW_THREAD: Final = 0x00010000
_OTHER_NUMBERS: Final = 0x40000000  # x32: the same calls again under other numbers


class _Machine(NamedTuple):
    """How the kernel numbers a processor's calls."""

    code: int
    numbers: dict[str, int]


_EVERYWHERE = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsmount": 432,
    "pidfd_open": 434,
    "clone3": 435,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "fchmodat2": 452,
}
# fmt: off
_MACHINES = {
    "x86_64": _Machine(0xC000003E, {
        **_EVERYWHERE,
        "socket": 41, "connect": 42, "accept": 43, "bind": 49, "listen": 50, "accept4": 288,
        "shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240,
        "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "execveat": 322,
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
        "chmod": 90, "fchmod": 91, "fchmodat": 268, "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260,
        "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190,
        "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308,
        "open_by_handle_at": 304, "name_to_handle_at": 303, "quotactl": 179, "swapon": 167, "swapoff": 168,
        "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "add_key": 248, "request_key": 249, "keyctl": 250,
        "kexec_load": 246, "kexec_file_load": 320, "init_module": 175, "finit_module": 313, "delete_module": 176,
        "reboot": 169, "acct": 163, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159, "clock_adjtime": 305,
        "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173,
    }),
    "aarch64": _Machine(0xC00000B7, {
        **_EVERYWHERE,
        "socket": 198, "bind": 200, "listen": 201, "accept": 202, "connect": 203, "accept4": 242,
        "shmget": 194, "semget": 190, "msgget": 186, "mq_open": 180,
        "clone": 220, "execve": 221, "execveat": 281,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
        "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55,
        "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7,
        "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268,
        "open_by_handle_at": 265, "name_to_handle_at": 264, "quotactl": 60, "swapon": 224, "swapoff": 225,
        "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "add_key": 217, "request_key": 218, "keyctl": 219,
        "kexec_load": 104, "kexec_file_load": 294, "init_module": 105, "finit_module": 273, "delete_module": 106,
        "reboot": 142, "acct": 89, "settimeofday": 170, "clock_settime": 112, "adjtimex": 171, "clock_adjtime": 266,
        "sethostname": 161, "setdomainname": 162,
    }),
}
# fmt: on
_STARTS_PROCESSES = frozenset(["clone", "clone3", "fork", "vfork"])


def refuse_ways_out() -> None:
    """Give up every call of the table but those that start processes; each fails with ``EPERM`` from now on.

    It wants `core.sandbox.kernel.refuse_new_privileges` before it.

    Raises:
        OSError: This kernel or processor does not have it.
    """
    machine = _find_machine()
    refused = sorted(number for name, number in machine.numbers.items() if name not in _STARTS_PROCESSES)
    _install([*_check_machine(machine), *_refuse(refused)])


def refuse_new_processes() -> None:
    """Give up starting processes; threads may still be started, as decoders do. Errors as `refuse_ways_out`."""
    machine = _find_machine()
    numbers = machine.numbers
    _install(
        [
            *_check_machine(machine),
            # The C library goes on to try the older call.
            *_answer_if_equal(numbers["clone3"], _FAIL | errno.ENOSYS),
            *(step for name in ("fork", "vfork") if name in numbers for step in _answer_if_equal(numbers[name])),
            _step(_JUMP_IF_EQUAL, numbers["clone"], if_not=3),
            _step(_LOAD, _FIRST_ARGUMENT),
            _step(_JUMP_IF_SET, _NEW_THREAD, if_so=1),
            _step(_RETURN, _FAIL | errno.EPERM),
            _step(_RETURN, _ALLOW),
        ]
    )


def _find_machine() -> _Machine:
    name = os.uname().machine
    if name not in _MACHINES or struct.calcsize("P") != 8:
        raise OSError(f"not written for {name}")
    return _MACHINES[name]


def _step(code: int, value: int, *, if_so: int = 0, if_not: int = 0) -> bytes:
    """Return one step of the program: what it does, with what, and how many steps it leaves out afterwards."""
    return struct.pack("=HBBI", code, if_so, if_not, value)


def _answer_if_equal(number: int, answer: int = _FAIL | errno.EPERM) -> list[bytes]:
    return [_step(_JUMP_IF_EQUAL, number, if_not=1), _step(_RETURN, answer)]


def _check_machine(machine: _Machine) -> list[bytes]:
    """Return the steps that end whoever speaks to the kernel in another machine's numbers, and load the call's own."""
    return [
        _step(_LOAD, _MACHINE),
        _step(_JUMP_IF_EQUAL, machine.code, if_so=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        _step(_JUMP_IF_AT_LEAST, _OTHER_NUMBERS, if_not=1),
        _step(_RETURN, _FAIL | errno.EPERM),
    ]


def _refuse(numbers: Sequence[int]) -> Iterable[bytes]:
    for place, number in enumerate(numbers):
        yield _step(_JUMP_IF_EQUAL, number, if_so=len(numbers) - place)
    yield _step(_RETURN, _ALLOW)
    yield _step(_RETURN, _FAIL | errno.EPERM)


def _install(steps: Sequence[bytes]) -> None:
    program = ctypes.create_string_buffer(b"".join(steps))
    described = struct.pack("@HP", len(steps), ctypes.addressof(program))
    address = ctypes.cast(ctypes.c_char_p(described), ctypes.c_void_p)
    kernel.call("prctl", _SET_SECCOMP, _FILTER, address, 0, 0)
