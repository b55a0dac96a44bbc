"""Weights as ``torch.save`` would write them, without torch.

The form is torch's zip file (``docs/source/notes/serialization.rst`` there): ``data.pkl`` holds a pickled mapping in
which each tensor is a call that rebuilds it from a storage, and each storage is one stored entry of raw numbers. The
pickle is written opcode by opcode, for pickling the call itself would need torch to be imported.
"""

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.training.engines import Arrays

_STORAGES = {np.dtype(np.float32): "FloatStorage", np.dtype(np.int64): "LongStorage"}
_KINDS = {name: kind for kind, name in _STORAGES.items()}
_VERSION = b"3\n"


def write_torch_file(path: Path, weights: Arrays, metadata: Mapping[str, str] | None = None) -> None:
    """Write a ``state_dict`` that ``torch.load(path, weights_only=True)`` reads; equal content makes equal bytes.

    Args:
        path: Where to.
        weights: float32 or int64 arrays by name, of at most 2³¹ numbers each.
        metadata: Kept as JSON in an entry ``lenet.json`` of the zip, which torch passes over.
    """
    about = {"lenet.json": json.dumps(metadata, ensure_ascii=False).encode()} if metadata else {}
    entries = {
        "data.pkl": _pickle(weights),
        "byteorder": b"little",
        "version": _VERSION,
        **{f"data/{place}": _little(array).tobytes() for place, array in enumerate(weights.values())},
        **about,
    }
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(zipfile.ZipInfo(f"{path.stem}/{name}"), content)


def read_torch_file(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays by name that a ``state_dict`` file holds, whoever wrote it; nothing of the file is run.

    Raises:
        ValueError: It is another file, or holds anything but float32 and int64 tensors.
    """
    try:
        with zipfile.ZipFile(path) as file:
            (name,) = (name for name in file.namelist() if name.endswith("/data.pkl"))
            return dict(_StateReader(file, name).load())
    except (zipfile.BadZipFile, KeyError, TypeError, pickle.UnpicklingError, EOFError) as error:
        raise ValueError("The file does not hold the weights of a net.") from error


class _StateReader(pickle.Unpickler):
    """Reads the pickled mapping; it knows the three names that tensors are made of, and refuses every other."""

    def __init__(self, file: zipfile.ZipFile, name: str) -> None:
        super().__init__(io.BytesIO(file.read(name)))
        self._file, self._folder = file, name.removesuffix("data.pkl")

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for one of torch's names."""
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _KINDS:
            return _KINDS[name]
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a tensor")

    def persistent_load(self, pid: Any) -> npt.NDArray[Any]:
        """Return the numbers of a storage."""
        _, kind, number, _, count = pid
        numbers = np.frombuffer(self._file.read(f"{self._folder}data/{number}"), kind.newbyteorder("<"))
        return numbers[:count].astype(kind)


def _rebuild(storage: npt.NDArray[Any], offset: int, shape: Any, strides: Any, *_: Any) -> npt.NDArray[Any]:
    steps = [step * storage.itemsize for step in strides]
    if not prod(shape):
        return np.empty(shape, storage.dtype)
    view = np.ndarray(shape, storage.dtype, storage.data, offset * storage.itemsize, steps)
    return view.copy()


def _little(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)


def _pickle(weights: Arrays) -> bytes:
    items = b"".join(
        _text(name) + _tensor(place, array.shape, _STORAGES[array.dtype])
        for place, (name, array) in enumerate(weights.items())
    )
    return pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS + pickle.STOP


def _tensor(place: int, shape: tuple[int, ...], storage: str) -> bytes:
    """Return the call that rebuilds a tensor from storage number ``place``, row by row, without gradient."""
    strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    stored = _tuple([_text("storage"), _global("torch", storage), _text(str(place)), _text("cpu"), _int(prod(shape))])
    no_hooks = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    arguments = [
        stored + pickle.BINPERSID,
        _int(0),
        _tuple(map(_int, shape)),
        _tuple(map(_int, strides)),
        pickle.NEWFALSE,
        no_hooks,
    ]
    return _global("torch._utils", "_rebuild_tensor_v2") + _tuple(arguments) + pickle.REDUCE


def _tuple(items: Iterable[bytes]) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    encoded = text.encode()
    return pickle.BINUNICODE + len(encoded).to_bytes(4, "little") + encoded


def _int(number: int) -> bytes:
    return pickle.BININT + number.to_bytes(4, "little", signed=True)
