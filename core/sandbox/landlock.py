"""Landlock: the files that a process may still open (Linux 5.13 and newer; no privilege is needed).

What is open already stays usable. Everything that the kernel at hand can restrict is restricted: newer ones add
connections (6.7), and signals and abstract sockets to processes outside (6.12); see the kernel's page on Landlock.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from core.sandbox import kernel

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_WRITE_FILE, _READ_FILE, _READ_FOLDER = 1 << 1, 1 << 2, 1 << 3
_REMOVE_FOLDER, _REMOVE_FILE, _MAKE_FOLDER, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_TRUNCATE: Final = 1 << 14
_READ = _READ_FILE | _READ_FOLDER
_WRITE = _READ | _WRITE_FILE | _REMOVE_FOLDER | _REMOVE_FILE | _MAKE_FOLDER | _MAKE_FILE | _TRUNCATE
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE
# Kinds of access to files that each version knows: the first 13 by version 1, then one more now and then.
_KINDS_BY_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}
_KINDS_LATER = 16
_CONNECTIONS = 0b11  # to bind and to connect by TCP
_CONNECTIONS_VERSION = 4
_SCOPES = 0b11  # abstract Unix sockets, signals
_SCOPES_VERSION = 6


def restrict(*, readable: Iterable[Path], writable: Iterable[Path]) -> None:
    """Let this process and its children open nothing but what lies beneath some paths, and connect to nothing.

    Args:
        readable: Files and folders to read; those that cannot be reached are passed over.
        writable: Files to write, and folders to make and delete files in.

    Raises:
        OSError: The kernel has no Landlock, or may not use it here.
    """
    version = kernel.call("syscall", _CREATE_RULESET, 0, 0, _ASK_VERSION)
    handled = (1 << _KINDS_BY_VERSION.get(version, _KINDS_LATER)) - 1
    ruleset = _create(version, handled)
    try:
        for path in readable:
            _allow(ruleset, path, _READ & handled)
        for path in writable:
            _allow(ruleset, path, _WRITE & handled)
        kernel.call("syscall", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _create(version: int, handled: int) -> int:
    fields = [handled]
    if version >= _CONNECTIONS_VERSION:
        fields.append(_CONNECTIONS)
    if version >= _SCOPES_VERSION:
        fields.append(_SCOPES)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    return kernel.call("syscall", _CREATE_RULESET, _address(attributes), len(attributes), 0)


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):  # what cannot be reached anyway need not be allowed
        return
    try:
        if not stat.S_ISDIR(os.fstat(beneath).st_mode):
            access &= _OF_FILES
        rule = struct.pack("=Qi", access, beneath)
        kernel.call("syscall", _ADD_RULE, ruleset, _PATH_BENEATH, _address(rule), 0)
    finally:
        os.close(beneath)


def _address(data: bytes) -> ctypes.c_void_p:
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p)
