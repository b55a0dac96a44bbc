"""Exported models on their way from the store into memory, checked before they are loaded."""

import hashlib
from dataclasses import dataclass

from core.errors import IntegrityError
from core.inference.cache import ModelCache
from core.inference.predictor import Predictor
from core.storage.store import ObjectStore


@dataclass(frozen=True)
class StoredFile:
    """A file of a job as SQL knows it: where its bytes are, how many, and their hash."""

    key: str
    size_bytes: int
    sha256: str


class Models:
    """Predictors by the file that they come from; a file is read from the store once while there is room."""

    def __init__(self, store: ObjectStore, cache: ModelCache) -> None:
        self._store = store
        self._cache = cache

    def get(self, file: StoredFile) -> Predictor:
        """Return the predictor of a model's file; raises as `read_whole`."""
        return self._cache.get(f"{file.key}:{file.sha256}", lambda: read_whole(self._store, file))


def read_whole(store: ObjectStore, file: StoredFile) -> bytes:
    """Return a file's bytes.

    Raises:
        IntegrityError: They are not the bytes that were stored.
        ObjectNotFoundError: There are none.
    """
    with store.open(file.key, length=file.size_bytes + 1) as source:
        content = source.read()
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise IntegrityError("The stored file is not the one that was recorded; train the model again.")
    return content
