"""Bringing random bytes into a form that gets past the first check, so that what stands behind it is reached."""

import struct
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from core.domain.presets import PRESETS
from core.domain.training_options import TrainingConfig

_BLOCK = 512
_MAGIC = slice(257, 262)
_PNG_HEAD_BYTES = 8
_VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "auto", "none", [], {}),
    *(0, 1, -1, 2, 3, 8, 16, 32, 64, 100, 2**31, 2**64, 10**400),
    *(0.0, -0.0, 1e-9, 0.1, 0.5, 0.999, 1.0, 1.5, 1e308),
    *([1], [0.9, 0.999], [6, 16], [120, 84], [2, 4], [0.9, 0.999, 1], [[1]], {"name": 1}),
    *({"name": None}, {"light": 1}, {"a/b~c": 1}),
)


def mend_tar(data: bytes) -> bytes:
    """Return the bytes with the right checksum in each block that looks like a header."""
    mended = bytearray(data)
    for place in range(0, len(data) - _BLOCK + 1, _BLOCK):
        block = mended[place : place + _BLOCK]
        if block[_MAGIC] == b"ustar":
            block[148:156] = b" " * 8
            mended[place + 148 : place + 156] = b"%06o\0 " % sum(block)
    return bytes(mended)


def mend_png(data: bytes) -> bytes:
    """Return the bytes with the right checksum in each chunk of a PNG; anything else as it is."""
    mended, place = bytearray(data), _PNG_HEAD_BYTES
    while data[1:4] == b"PNG" and place + 12 <= len(mended):
        end = place + 8 + struct.unpack_from(">I", mended, place)[0]
        if end + 4 > len(mended):
            break
        struct.pack_into(">I", mended, end, zlib.crc32(mended[place + 4 : end]))
        place = end + 4
    return bytes(mended)


def choose_options(data: bytes) -> dict[str, Any]:
    """Return a config in which each two bytes set an option, one of a group too, to a value."""
    config: dict[str, Any] = {}
    names, values = _names(), _values()
    for place in range(0, min(len(data), 64) - 1, 2):
        *groups, name = names[data[place] % len(names)]
        target = config
        for group in groups:
            inner = target.get(group)
            target[group] = target = dict(inner) if isinstance(inner, dict) else {}
        target[name] = values[data[place + 1] % len(values)]
    return config


@cache
def _names() -> list[tuple[str, ...]]:
    """Return the path of every option, and a few that are none."""
    schema = TrainingConfig.model_json_schema()
    return [*_walk(schema, schema.get("$defs", {}), depth=2), ("unknown",), ("optimizer", "unknown"), ("",)]


def _walk(schema: Mapping[str, Any], parts: Mapping[str, Any], *, depth: int) -> Iterator[tuple[str, ...]]:
    choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    for one in (schema, *choices):
        found = parts.get(one.get("$ref", "").rpartition("/")[2], one)
        if found is not schema:
            yield from _walk(found, parts, depth=depth)
        elif depth:
            for name, inner in found.get("properties", {}).items():
                yield (name,)
                yield from ((name, *rest) for rest in _walk(inner, parts, depth=depth - 1))


@cache
def _values() -> list[Any]:
    """Return values of every kind, and every word that some option knows."""
    words: set[str] = set(PRESETS)

    def collect(part: Any) -> None:
        if isinstance(part, dict):
            words.update(word for word in (*part.get("enum", ()), part.get("const")) if isinstance(word, str))
            for inner in part.values():
                collect(inner)
        elif isinstance(part, list):
            for inner in part:
                collect(inner)

    collect(TrainingConfig.model_json_schema())
    return [*_VALUES, *sorted(words)]
