"""One training from the first step to its files."""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from core.clock import now
from core.datasets.packs import Pack
from core.domain.architectures import layers
from core.domain.jobs import StopReason
from core.domain.training_config import TrainingConfig, settle
from core.errors import IntegrityError, TrainingError
from core.training.augmentation import make_augment
from core.training.checkpoints import read_checkpoint, write_checkpoint
from core.training.contract import EpochResult, Metrics, Observer, TrainingJob, TrainingResult
from core.training.draws import Purpose, seed_torch, shuffle
from core.training.evaluation import Score, compute_logits, score
from core.training.images import Batches, Positions, fingerprint, split_images
from core.training.nets import build_net, count_weights
from core.training.optimizers import build_optimizer, learning_rate, penalize
from core.training.progress import ProgressMeter
from core.training.state import Best, Circumstances, Place, State, Weights

_SECONDS_WITHOUT_CHECKPOINT = 60.0
# Epochs of a few images are shorter than the disk's answer: a second lost is cheaper than a second waited.
_SECONDS_BETWEEN_CHECKPOINTS = 1.0

Logits = npt.NDArray[np.float32]


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
    prepare_process(job)
    training = Training(job, observer)
    return training.finish() if training.run() else None


def prepare_process(job: TrainingJob) -> None:
    """Set what torch keeps for the whole process: threads, and whether results must repeat."""
    torch.set_num_threads(job.threads)
    if job.config.deterministic and job.device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when CUDA starts
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(job.config.deterministic)
    # Nothing here reads memory that was not written, so filling it would only cost.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set by a module property


class Training:
    """A training in this process: the data, the net, the optimiser and the state that moves on."""

    def __init__(self, job: TrainingJob, observer: Observer) -> None:
        self.job, self.observer = job, observer
        self.pack = Pack.open(job.pack)
        self.config = settle(
            job.config,
            classes=len(self.pack.classes),
            train_images=len(self.pack.indices("train")),
            validation_images=len(self.pack.indices("validation")),
            color_mode=self.pack.color_mode,
        )
        if (self.pack.image_size, self.pack.color_mode) != (self.config.image_size, self.config.color_mode):
            raise IntegrityError("The pack was made for another image size or colour mode.")
        self.split = split_images(self.pack, self.config)
        self.device = torch.device(job.device)
        self.batches = Batches(self.pack, self.device)
        self.net = self._build_net()
        self.optimizer = build_optimizer(self.config.optimizer, self.net)
        self.augment = make_augment(self.config.augmentation)
        self.fingerprint = fingerprint(self.pack)
        self.state = State()
        self.meter = ProgressMeter(
            observer,
            epochs=self.epochs,
            train_images=len(self.split.train),
            validation_images=len(self.split.validation),
            test_images=len(self.split.test),
            batches=self.steps,
        )
        self._start_or_resume()
        self._saved_at = time.monotonic()

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
        return math.ceil(len(self.split.train) / self.batch_size)

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
            self.net.load_state_dict(best.weights)
            kept = self.state.history[best.epoch - 1]
        logits = self._look(self.split.test)
        test = self._score(logits, self.split.test)
        files = write_results(self, logits=logits, test=test)
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
            parameters=count_weights(self.net),
            files=files,
            exact_resume=self.state.exact,
        )

    def _build_net(self) -> nn.Sequential:
        seed_torch(self.config.seed, Purpose.WEIGHTS)
        network = layers(self.config, classes=len(self.pack.classes))
        shape = (self.pack.channels, self.pack.image_size, self.pack.image_size)
        net = build_net(network, shape, init=self.config.init)
        scale, shift = scale_pixels(self.config, self.pack)
        net.get_submodule("scaling").load_state_dict({"scale": scale, "shift": shift})
        # A channels-last pack becomes a channels-last batch without a copy.
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave this form out
        return net.to(self.device)

    def _start_or_resume(self) -> None:
        if self.job.resume_from is not None:
            self._restore(read_checkpoint(self.job.resume_from))
        elif self.job.initial_weights is not None:
            self._warm_start()
        place = self.state.place
        self.meter.place(epoch=place.epoch, batch=place.batch, images=place.images)

    def _warm_start(self) -> None:
        assert self.job.initial_weights is not None
        try:
            own = {name: self.net.state_dict()[name] for name in ("scaling.scale", "scaling.shift")}
            self.net.load_state_dict({**load_file(self.job.initial_weights), **own})
        except (SafetensorError, RuntimeError, OSError) as error:
            detail = "The weights to start from are not those of this architecture, image size and number of classes."
            raise TrainingError(detail, code="incompatible_weights") from error

    def _train_epoch(self) -> bool:
        """Train what is left of the epoch; return False where a pause was asked for."""
        place = self.state.place
        order = shuffle(self.split.train, seed=self.config.seed, epoch=place.epoch)
        started, before = time.perf_counter(), place.seconds
        loss_sum = torch.tensor(place.loss, dtype=torch.float64, device=self.device)
        right_sum = torch.tensor(place.right, dtype=torch.int64, device=self.device)

        def catch_up() -> None:
            """Bring the sums from the device; a loss that is no number shows in them for good."""
            place.loss, place.right = float(loss_sum), int(right_sum)
            place.seconds = before + time.perf_counter() - started
            self._refuse_divergence(place.loss)

        self.net.train()
        while place.batch < self.steps:
            command = self.observer.command()
            if command == "pause":
                catch_up()
                self._save()
                return False
            if command == "stop":
                self.state.stop_reason = StopReason.STOPPED
            chosen = order[place.batch * self.batch_size : (place.batch + 1) * self.batch_size]
            loss, right = self._step(chosen)
            loss_sum += loss * len(chosen)
            right_sum += right
            place.batch += 1
            place.images += len(chosen)
            if self.meter.trained(len(chosen), epoch=place.epoch, batch=place.batch):
                catch_up()
                if time.monotonic() - self._saved_at > _SECONDS_WITHOUT_CHECKPOINT:
                    self._save()
        catch_up()
        return True

    def _step(self, chosen: Positions) -> tuple[torch.Tensor, torch.Tensor]:
        """Train on the images at ``chosen``; return their mean loss and how many were answered rightly."""
        place, config = self.state.place, self.config
        seed_torch(config.seed, Purpose.STEP, place.epoch, place.batch)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(place.batch)
        images, labels = self.batches.images(chosen), self.batches.labels(chosen)
        if self.augment:
            images = self.augment(images)
        logits = self.net(images)
        loss = functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        self.optimizer.zero_grad()
        (loss + penalize(self.net, l1=config.l1, l2=config.l2)).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.optimizer.step()
        return loss.detach(), (logits.detach().argmax(dim=1) == labels).sum()

    def _learning_rate(self, batch: int) -> float:
        return learning_rate(
            self.config.scheduler,
            self.config.optimizer.learning_rate,
            step=(self.state.place.epoch - 1) * self.steps + batch,
            steps_of_an_epoch=self.steps,
            epochs=self.epochs,
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
                keep = self._copy_weights() if stopping and stopping.restore_best else None
                state.best = Best(epoch=epoch, value=value, weights=keep)
        if state.stop_reason is None and stopping and state.best.waited >= stopping.patience:
            state.stop_reason = StopReason.EARLY_STOPPING
        if epoch >= self.epochs:
            state.stop_reason = StopReason.EPOCHS_DONE

    def _look(self, positions: Positions) -> Logits:
        if not len(positions):
            return np.empty((0, len(self.pack.classes)), np.float32)
        size = self.pack.image_size
        return compute_logits(self.net, self.batches, positions, image_size=size, tick=self.meter.looked)

    def _score(self, logits: Logits, positions: Positions) -> Score | None:
        return score(logits, self.pack.labels[positions]) if len(positions) else None

    def _refuse_divergence(self, loss: float) -> None:
        if not math.isfinite(loss):
            detail = (
                f"The loss is no longer a number in epoch {self.state.place.epoch}. "
                "A lower optimizer.learning_rate, a warm-up or batch_norm may help."
            )
            raise TrainingError(detail, code="diverged")

    def _copy_weights(self) -> Weights:
        return {name: tensor.detach().clone() for name, tensor in self.net.state_dict().items()}

    def _circumstances(self) -> dict[str, Any]:
        return asdict(Circumstances(self.job.threads, self.job.device, str(torch.__version__)))

    def _save(self) -> None:
        place = self.state.place
        content = {
            "config": self.config.model_dump_json(),
            "data": self.fingerprint,
            "circumstances": self._circumstances(),
            "state": self.state.plain(),
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        path = write_checkpoint(self.job.work_dir, content, epoch=place.epoch, batch=place.batch)
        self._saved_at = time.monotonic()
        self.observer.checkpoint(path, epoch=place.epoch, batch=place.batch)

    def _restore(self, content: Mapping[str, Any]) -> None:
        try:
            if content["config"] != self.config.model_dump_json() or content["data"] != self.fingerprint:
                raise IntegrityError("The checkpoint is of another config or other data.")
            self.net.load_state_dict(content["net"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.state = State.parse(content["state"])
            self.state.exact = self.state.exact and content["circumstances"] == self._circumstances()
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise IntegrityError("The checkpoint does not fit this version.") from error


def scale_pixels(config: TrainingConfig, pack: Pack) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and shift ``(channels, 1, 1)`` that bring raw pixels (0–255) to the range of ``normalize``."""
    mean, deviation = np.array(pack.mean), np.array(pack.deviation)
    ones = np.ones(pack.channels)
    scale, shift = {
        "dataset": (1 / (255 * deviation), -mean / deviation),
        "unit": (ones / 255, 0 * ones),
        "none": (ones, 0 * ones),
    }[config.normalize]
    return tuple(torch.tensor(values, dtype=torch.float32).view(-1, 1, 1) for values in (scale, shift))  # type: ignore[return-value]  # two of them
