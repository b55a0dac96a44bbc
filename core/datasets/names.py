"""The rules for the names of an archive's entries.

No name ever becomes a path of this machine; the rules keep the ledger unambiguous, and refuse what could harm whoever
unpacks the archive elsewhere.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

MAX_NAME_BYTES = 1024
MAX_PART_BYTES = 255
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[1-9]|lpt[1-9]) *(?:\.|$)", re.IGNORECASE)
_PLAIN_PART = re.compile(
    rf"(?!{_RESERVED.pattern})[a-z0-9_(+-](?:[a-z0-9_()+ .,@#=&-]{{0,100}}[a-z0-9_()+-])?", re.IGNORECASE | re.ASCII
)
_PLAIN_NAMES = re.compile(
    rb"(?:(?!(?i:con|prn|aux|nul|com[1-9]|lpt[1-9]) *[./\n])"
    rb"[A-Za-z0-9_(+-](?:[A-Za-z0-9_()+ .,@#=&-]{0,100}[A-Za-z0-9_()+-])?(?:/\n?|\n))++"
)
_DRIVE = re.compile(r"[A-Za-z]:")
_DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def tidy_name(name: str) -> str:
    """Return the name without the ``./`` that some archivers put in front."""
    while name.startswith("./") and len(name) > 2:
        name = name[2:]
    return name


def are_plain_names(names: Sequence[bytes]) -> bool:
    """Tell whether all names are such as nearly all are: ASCII without anything unusual, so surely without a fault."""
    text = b"\n".join([*names, b""])
    if text.count(b"\n") != len(names) or max(map(len, names), default=0) > MAX_NAME_BYTES:
        return False
    return _PLAIN_NAMES.fullmatch(text) is not None


def find_name_fault(name: str) -> str | None:
    """Return what is wrong with an entry's name, or ``None``."""
    folder, _, last = name.removesuffix("/").rpartition("/")
    if name == "./":  # the archived folder itself, as tar writes it
        return None
    if len(name) * 4 > MAX_NAME_BYTES and len(name.encode()) > MAX_NAME_BYTES:
        return f"the name is longer than {MAX_NAME_BYTES} bytes"
    return (_find_folder_fault(folder) if folder or name.startswith("/") else None) or _find_part_fault(last)


@lru_cache(maxsize=4096)
def _find_folder_fault(folder: str) -> str | None:
    if folder.startswith("/") or not folder:
        return "the name is absolute"
    return next((fault for part in folder.split("/") if (fault := _find_part_fault(part))), None)


def _find_part_fault(part: str) -> str | None:
    if _PLAIN_PART.fullmatch(part):  # nearly all names; the rules one by one take ten times as long
        return None
    return next((fault for is_wrong, fault in _PART_RULES if is_wrong(part)), None)


_PART_RULES: tuple[tuple[Callable[[str], object], str], ...] = (
    (lambda part: not part, "the name has an empty part"),
    (lambda part: part in (".", ".."), "the name leads out of its folder"),
    (lambda part: "\\" in part, "the name has a back-slash"),
    (_DRIVE.match, "the name has a drive letter"),
    (lambda part: any(unicodedata.category(sign) == "Cc" for sign in part), "the name has a control character"),
    (lambda part: not _DIRECTION_MARKS.isdisjoint(part), "the name has a mark that changes the reading direction"),
    (lambda part: part.endswith("."), "the name has a part that ends in a dot"),
    (_RESERVED.match, "the name is reserved on Windows"),
    (lambda part: len(part.encode()) > MAX_PART_BYTES, f"the name has a part of more than {MAX_PART_BYTES} bytes"),
)


def fold_name(name: str) -> str:
    """Return the form in which names that a file system may take for one another are equal."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def printable_name(name: str) -> str:
    """Return the name as it may stand in a reason: control characters escaped, cut to 255 characters."""
    text = "".join(
        sign.encode("unicode_escape").decode()
        if unicodedata.category(sign) in ("Cc", "Cs") or sign in _DIRECTION_MARKS
        else sign
        for sign in name[:256]
    )
    return text if len(text) <= 255 else text[:254] + "…"
