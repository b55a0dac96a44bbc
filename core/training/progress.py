"""How far a training is, told often enough and not too often."""

import time

from core.training.contract import Observer, Progress

_SECONDS_BETWEEN = 0.25
# What an image costs when it is only looked at, in images trained.
_LOOK = 0.3


class ProgressMeter:
    """Counts work in images trained and tells the observer at most four times a second.

    Args:
        observer: Who is told.
        epochs: Epochs of the training.
        train_images: Images trained in each epoch.
        validation_images: Images looked at after each.
        test_images: Images looked at in the end.
        batches: Steps of an epoch.
    """

    def __init__(
        self,
        observer: Observer,
        *,
        epochs: int,
        train_images: int,
        validation_images: int,
        test_images: int,
        batches: int,
    ) -> None:
        self._observer = observer
        self._epochs, self._batches = epochs, batches
        self._epoch_work = train_images + _LOOK * validation_images
        self._work = epochs * self._epoch_work + _LOOK * test_images
        self._epoch, self._batch, self._done = 1, 0, 0.0
        self._told_at = self._started_at = self._worked_at = time.monotonic()
        # Images trained since the speed was last told, and the seconds that they took, evaluation apart.
        self._images, self._seconds = 0, 0.0
        self._done_at_start = 0.0
        self._speed = 0.0

    def place(self, *, epoch: int, batch: int, images: int) -> None:
        """Stand at a place: ``batch`` steps with ``images`` images of ``epoch`` are done."""
        self._epoch, self._batch = epoch, batch
        self._done = self._done_at_start = (epoch - 1) * self._epoch_work + images
        self._started_at = self._worked_at = time.monotonic()

    def trained(self, images: int, *, epoch: int, batch: int) -> bool:
        """Count a step; return whether the observer was told."""
        self._epoch, self._batch = epoch, batch
        self._done += images
        self._images += images
        self._seconds += self._pass_time()
        return self._tell_sometimes()

    def looked(self, images: int) -> None:
        """Count images that were evaluated."""
        self._done += _LOOK * images
        self._pass_time()
        self._tell_sometimes()

    def finish(self) -> None:
        """Tell that everything is done."""
        self._done = self._work
        self._tell()

    def _pass_time(self) -> float:
        """Return the seconds since work was last counted."""
        before, self._worked_at = self._worked_at, time.monotonic()
        return self._worked_at - before

    def _tell_sometimes(self) -> bool:
        if time.monotonic() - self._told_at < _SECONDS_BETWEEN:
            return False
        self._tell()
        return True

    def _tell(self) -> None:
        now = time.monotonic()
        if self._images and self._seconds > 0:
            self._speed = self._images / self._seconds
        self._told_at, self._images, self._seconds = now, 0, 0.0
        rate = (self._done - self._done_at_start) / max(now - self._started_at, 1e-9)
        self._observer.progress(
            Progress(
                epoch=self._epoch,
                epochs=self._epochs,
                batch=self._batch,
                batches=self._batches,
                fraction=min(self._done / self._work, 1.0),
                images_per_second=self._speed,
                eta_seconds=max(0.0, self._work - self._done) / rate if rate > 0 else None,
            )
        )
