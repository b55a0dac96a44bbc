"""Loaded models, kept as long as there is room."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from core.inference.predictor import Predictor

# A loaded model takes several times its file: weights as the runtime lays them out, and its plan.
_BYTES_PER_FILE_BYTE = 3
_BYTES_OF_A_SESSION = 2**20


class ModelCache:
    """Predictors by key, at most ``capacity_bytes`` of them by estimate; the least recently used goes first.

    One that is larger than the whole cache is loaded and not kept. Each answers with ``threads`` threads.
    """

    def __init__(self, capacity_bytes: int, *, threads: int = 1) -> None:
        self._capacity_bytes = capacity_bytes
        self._threads = threads
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Predictor] = OrderedDict()
        self._loading: dict[str, threading.Lock] = {}
        self.used_bytes = 0

    def get(self, key: str, load: Callable[[], bytes]) -> Predictor:
        """Return the predictor under ``key``; where there is none, of the model that ``load`` returns.

        Threads that ask for the same key at once load it once. What ``load`` raises goes on to its caller.
        """
        if (predictor := self._find(key)) is not None:
            return predictor
        with self._lock:
            loading = self._loading.setdefault(key, threading.Lock())
        try:
            with loading:
                if (predictor := self._find(key)) is None:
                    predictor = Predictor(load(), threads=self._threads)
                    self._keep(key, predictor)
                return predictor
        finally:
            with self._lock:
                self._loading.pop(key, None)

    def drop(self, key: str) -> None:
        """Forget what is under ``key``, if anything is."""
        with self._lock:
            self._remove(key)

    def _find(self, key: str) -> Predictor | None:
        with self._lock:
            predictor = self._kept.get(key)
            if predictor is not None:
                self._kept.move_to_end(key)
            return predictor

    def _keep(self, key: str, predictor: Predictor) -> None:
        with self._lock:
            self._remove(key)
            if _estimate(predictor) > self._capacity_bytes:
                return
            self._kept[key] = predictor
            self.used_bytes += _estimate(predictor)
            while self.used_bytes > self._capacity_bytes:
                self._remove(next(iter(self._kept)))

    def _remove(self, key: str) -> None:
        if (predictor := self._kept.pop(key, None)) is not None:
            self.used_bytes -= _estimate(predictor)


def _estimate(predictor: Predictor) -> int:
    return predictor.size_bytes * _BYTES_PER_FILE_BYTE + _BYTES_OF_A_SESSION
