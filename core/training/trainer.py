"""One training from the first step to its files."""

import math
import time
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from core.clock import now
from core.datasets.packs import Pack, digest_of
from core.domain.jobs import StopReason
from core.domain.training_config import settle
from core.domain.training_options import TrainingConfig
from core.errors import IntegrityError, TrainingError
from core.training.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from core.training.contract import EpochResult, Metrics, Observer, TrainingJob, TrainingResult
from core.training.engine_factory import open_engine
from core.training.engines import Arrays, Logits, Setup, Step
from core.training.evaluation import Score, score
from core.training.finished import Finished
from core.training.images import Positions, fingerprint, scale_pixels, split_images
from core.training.processor import name_processor
from core.training.progress import ProgressMeter
from core.training.provenance import digest_code
from core.training.sampling import keep_images, order_epoch
from core.training.schedules import count_drops, learning_rate
from core.training.state import Best, Circumstances, Place, State

_SECONDS_WITHOUT_CHECKPOINT = 60.0
# Epochs of a few images are shorter than the disk's answer: a second lost is cheaper than a second waited.
_SECONDS_BETWEEN_CHECKPOINTS = 1.0
# What the names of the best epoch's weights begin with in a checkpoint.
_BEST = "best/"


def train(job: TrainingJob, observer: Observer) -> TrainingResult | None:
    """Train ``job`` and write its results into its work folder.

    Returns:
        The result, or None where the observer asked for a pause: the last checkpoint that it was told of then holds
        the exact place.

    Raises:
        InvalidError: The config cannot work with the dataset; with every fault.
        IntegrityError: The pack or the checkpoint is broken, or the checkpoint is another training's.
        TrainingError: The training cannot go on: ``diverged``, ``incompatible_weights``, ``export_mismatch``.
    """
    training = Training(job, observer)
    return training.finish() if training.run() else None


class Training:
    """A training in this process: the data, the engine that computes and the state that moves on."""

    def __init__(self, job: TrainingJob, observer: Observer) -> None:
        self.job, self.observer = job, observer
        self.pack = Pack.open(job.pack)
        self.config = settle(
            job.config,
            classes=len(self.pack.classes),
            train_images=len(self.pack.indices("train")),
            validation_images=len(self.pack.indices("validation")),
            class_images=np.bincount(self.pack.labels[self.pack.indices("train")]).tolist(),
            color_mode=self.pack.color_mode,
        )
        if (self.pack.image_size, self.pack.color_mode) != (self.config.image_size, self.config.color_mode):
            raise IntegrityError("The pack was made for another image size or colour mode.")
        split = split_images(self.pack, self.config)
        self.split = replace(split, train=keep_images(split.train, self.pack.labels, self.config))
        self.epoch_images = len(self._order(epoch=1))
        checkpoint = read_checkpoint(job.resume_from) if job.resume_from else None
        self.engine = open_engine(self._set_up(checkpoint))
        observer.log(f"Computes in {self.engine.choice.precision}: {self.engine.choice.reason}.")
        if job.device == "cuda":
            observer.log(f"Reads images from {self.engine.source}.")
        self.fingerprint = fingerprint(self.pack)
        self.state = State()
        self._is_to_stop = False
        self.meter = ProgressMeter(
            observer,
            epochs=self.epochs,
            train_images=self.epoch_images,
            validation_images=len(self.split.validation),
            test_images=len(self.split.test),
            batches=self.steps,
        )
        self._start_or_resume(checkpoint)
        self._saved_at = time.monotonic()
        self._saved_place: tuple[int, int] | None = None

    @property
    def epochs(self) -> int:
        """Return how many epochs the whole training has."""
        assert self.config.epochs is not None
        return self.config.epochs

    @property
    def batch_size(self) -> int:
        """Return how many images a step takes."""
        assert self.config.batch_size is not None
        return self.config.batch_size

    @property
    def steps(self) -> int:
        """Return how many steps an epoch has; the last one may be smaller."""
        return math.ceil(self.epoch_images / self.batch_size)

    def run(self) -> bool:
        """Train until the end; return False where a pause was asked for."""
        while self.state.stop_reason is None:
            if not self._train_epoch():
                return False
            self._end_epoch()
        return True

    def finish(self) -> TrainingResult:
        """Measure the kept weights on the test split, write every result and return what was made."""
        from core.training.results import write_results  # noqa: PLC0415 - export is loaded where it is needed

        best, stopping = self.state.best, self.config.early_stopping
        kept = self.state.history[-1]
        if stopping and stopping.restore_best and best.weights and best.epoch:
            self.engine.load_weights(best.weights)
            kept = self.state.history[best.epoch - 1]
        logits = self._look(self.split.test)
        test = self._score(logits, self.split.test)
        self._refuse_divergence(test.loss if test else 0.0)
        self._refuse_broken_weights()
        validation = self._look(self.split.validation)
        files = write_results(
            self._finished(),
            self.job.work_dir,
            logits=logits,
            validation=validation,
            test=test,
            on_progress=lambda: self.meter.looked(0),
        )
        self.meter.finish()
        return TrainingResult(
            metrics=Metrics(
                train_loss=kept.train_loss,
                train_accuracy=kept.train_accuracy,
                val_loss=kept.val_loss,
                val_accuracy=kept.val_accuracy,
                test_loss=test.loss if test else None,
                test_accuracy=test.accuracy if test else None,
                best_epoch=best.epoch,
            ),
            stop_reason=self.state.stop_reason or StopReason.EPOCHS_DONE,
            parameters=self.engine.parameters,
            files=files,
            exact_resume=self.state.exact,
        )

    def _finished(self) -> Finished:
        return Finished(
            job=self.job,
            config=self.config,
            pack=self.pack,
            fingerprint=self.fingerprint,
            split=self.split,
            engine=self.engine,
            history=self.state.history,
            initial_weights=self.state.initial_weights,
        )

    def _set_up(self, checkpoint: Checkpoint | None) -> Setup:
        circumstances = checkpoint.plain.get("circumstances", {}) if checkpoint else {}
        return Setup(
            config=self.config,
            pack=self.pack,
            device=self.job.device,
            threads=self.job.threads,
            train=self.split.train,
            precision=circumstances.get("precision"),
            speeds=self.job.speeds,
        )

    def _start_or_resume(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint:
            self._restore(checkpoint)
        elif self.job.initial_weights is not None:
            self._warm_start()
        place = self.state.place
        if self.state.stop_reason is None:
            self.meter.place(epoch=place.epoch, batch=place.batch, images=place.images)
        else:  # Its place is the epoch after the last, which nobody will train.
            self.meter.place(epoch=place.epoch - 1, batch=self.steps, images=self.epoch_images)

    def _warm_start(self) -> None:
        assert self.job.initial_weights is not None
        try:
            scale, shift = scale_pixels(self.config, self.pack)
            own = {"scaling.scale": scale, "scaling.shift": shift}
            weights = load_file(self.job.initial_weights)
            _refuse_infinite(weights)
            self.engine.load_weights({**weights, **own})
            self.state.initial_weights = digest_of(self.job.initial_weights)
        except (SafetensorError, ValueError, OSError) as error:
            detail = (
                "The weights to start from are not those of this architecture, image size and number of classes, "
                "or some of them are no numbers."
            )
            raise TrainingError(detail, code="incompatible_weights") from error

    def _train_epoch(self) -> bool:
        """Train what is left of the epoch; return False where a pause was asked for."""
        place = self.state.place
        order = self._order(place.epoch)
        self._drops = count_drops(self.config.scheduler, self._validation_losses())
        started, before = time.perf_counter(), place.seconds
        self.engine.start_sums(loss=place.loss, right=place.right)

        def catch_up() -> None:
            """Bring the sums from the engine; a loss that is no number shows in them for good."""
            place.loss, place.right = self.engine.read_sums()
            place.seconds = before + time.perf_counter() - started
            self._refuse_divergence(place.loss)

        while place.batch < self.steps:
            command = self.observer.command()
            if command == "pause":
                catch_up()
                if (place.epoch, place.batch) != self._saved_place:  # A key is never written twice.
                    self._save()
                return False
            if command == "stop":
                self._is_to_stop = True
            chosen = self._cut(order, place.batch)
            self.engine.train(chosen, Step(place.epoch, place.batch, self._learning_rate(place.batch)))
            place.batch += 1
            self.engine.expect(self._cut(order, place.batch))
            place.images += len(chosen)
            if self.meter.trained(len(chosen), epoch=place.epoch, batch=place.batch):
                catch_up()
                if time.monotonic() - self._saved_at > _SECONDS_WITHOUT_CHECKPOINT:
                    self._save()
        catch_up()
        return True

    def _cut(self, order: Positions, batch: int) -> Positions:
        """Return what a step takes; nothing after the last."""
        return order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _order(self, epoch: int) -> Positions:
        return order_epoch(self.split.train, self.pack.labels, self.config, epoch)

    def _validation_losses(self) -> list[float]:
        return [result.val_loss for result in self.state.history if result.val_loss is not None]

    def _learning_rate(self, batch: int) -> float:
        return learning_rate(
            self.config.scheduler,
            self.config.optimizer.learning_rate,
            step=(self.state.place.epoch - 1) * self.steps + batch,
            steps_of_an_epoch=self.steps,
            epochs=self.epochs,
            drops=self._drops,
        )

    def _end_epoch(self) -> None:
        place = self.state.place
        started = time.perf_counter()
        validation = self._score(self._look(self.split.validation), self.split.validation)
        if validation:
            self._refuse_divergence(validation.loss)
        result = EpochResult(
            epoch=place.epoch,
            train_loss=place.loss / place.images,
            train_accuracy=place.right / place.images,
            val_loss=validation.loss if validation else None,
            val_accuracy=validation.accuracy if validation else None,
            learning_rate=self._learning_rate(place.batch - 1),
            seconds=place.seconds + time.perf_counter() - started,
            images_per_second=place.images / place.seconds,
            finished_at=now(),
        )
        self.state.history.append(result)
        self._judge(validation)
        self.state.place = Place(epoch=place.epoch + 1)
        self.observer.epoch(result)
        due = place.epoch % self.config.checkpoint_every == 0
        if due and time.monotonic() - self._saved_at > _SECONDS_BETWEEN_CHECKPOINTS:
            self._save()

    def _judge(self, validation: Score | None) -> None:
        """Remember the best epoch, and decide whether this was the last."""
        state, stopping, epoch = self.state, self.config.early_stopping, self.state.place.epoch
        if validation:
            by_loss = stopping is None or stopping.monitor == "val_loss"
            value = validation.loss if by_loss else -validation.accuracy
            state.best.waited += 1
            if value < state.best.value - (stopping.min_delta if stopping else 0.0):
                keep = self.engine.weights() if stopping and stopping.restore_best else None
                state.best = Best(epoch=epoch, value=value, weights=keep)
        if self._is_to_stop:
            state.stop_reason = StopReason.STOPPED
        elif stopping and state.best.waited >= stopping.patience:
            state.stop_reason = StopReason.EARLY_STOPPING
        if epoch >= self.epochs:
            state.stop_reason = StopReason.EPOCHS_DONE

    def _look(self, positions: Positions) -> Logits:
        return self.engine.compute_logits(positions, self.meter.looked)

    def _score(self, logits: Logits, positions: Positions) -> Score | None:
        return score(logits, self.pack.labels[positions]) if len(positions) else None

    def _refuse_divergence(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        place = self.state.place
        detail = (
            f"The loss is no longer a number in epoch {place.epoch if place.batch else place.epoch - 1}. "
            "A lower optimizer.learning_rate, a warm-up or batch_norm may help."
        )
        raise TrainingError(detail, code="diverged")

    def _refuse_broken_weights(self) -> None:
        """Treat weights that are no numbers as the loss that they will give: a step may leave them after its loss."""
        whole = all(np.isfinite(array).all() for array in self.engine.weights().values())
        self._refuse_divergence(0.0 if whole else math.nan)

    def _circumstances(self) -> dict[str, Any]:
        engine = self.engine
        circumstances = Circumstances(
            self.job.threads,
            self.job.device,
            name_processor(),
            engine.choice.precision,
            {**engine.versions, "numpy": np.__version__},
            digest_code(),
        )
        return asdict(circumstances)

    def _save(self) -> None:
        self._refuse_broken_weights()
        place, best = self.state.place, self.state.best.weights or {}
        plain = {
            "config": self.config.plain(),
            "data": self.fingerprint,
            "circumstances": self._circumstances(),
            "state": self.state.plain(),
        }
        arrays = {_BEST + name: array for name, array in best.items()} | self.engine.dump()
        content = Checkpoint(plain, arrays)
        path = write_checkpoint(self.job.work_dir, content, epoch=place.epoch, batch=place.batch)
        self._saved_at, self._saved_place = time.monotonic(), (place.epoch, place.batch)
        self.observer.checkpoint(path, epoch=place.epoch, batch=place.batch)

    def _restore(self, content: Checkpoint) -> None:
        plain, arrays = content.plain, content.arrays
        try:
            # An option that a later version has added has the value that there was before.
            config = TrainingConfig.model_validate(plain["config"]).plain()
            if config != self.config.plain() or plain["data"] != self.fingerprint:
                raise IntegrityError("The checkpoint is of another config or other data.")
            best = {name.removeprefix(_BEST): array for name, array in arrays.items() if name.startswith(_BEST)}
            self.engine.load(arrays)
            self.state = State.parse(plain["state"], best or None)
            self.state.exact = self.state.exact and plain["circumstances"] == self._circumstances()
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError("The checkpoint does not fit this version.") from error


def _refuse_infinite(weights: Arrays) -> None:
    """Raise `ValueError` where a weight is no number, for none after it would be one."""
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise ValueError("a weight is no number")
