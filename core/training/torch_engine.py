"""The engine that computes with torch, on a processor or a GPU."""

import io
import pickle
import zipfile
from collections.abc import Callable
from copy import deepcopy
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from core.domain.architectures import layers
from core.domain.layers import Shape
from core.training.augmentation import make_augment
from core.training.averages import AveragedNet
from core.training.batches import open_batches
from core.training.device import describe_device, prepare_device
from core.training.draws import Purpose, derive_seed, make_generator
from core.training.engines import Arrays, Choice, Logits, PrecisionName, Setup, Step
from core.training.forward import Forward, make_forward
from core.training.images import Positions, scale_pixels
from core.training.losses import measure_loss
from core.training.memory import keep_memory
from core.training.nets import build_net, count_weights
from core.training.optimizers import build_optimizer, penalize
from core.training.precision import choose_precision, has_bfloat16
from core.training.processor import name_processor
from core.training.sampling import weigh_classes
from core.training.speeds import measure_once

# Evaluated in batches of about this many pixels: they stay in a processor's cache, and keep a GPU busy.
_PIXELS_OF_A_BATCH, _GPU_PIXELS_OF_A_BATCH = 2**18, 2**21
_KINDS: dict[PrecisionName, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
# A probe takes as long as some thousand images: a training of fewer than these is not asked.
_LEAST_WORK = 10_000
_MOST_PROBED = 256


class TorchEngine:
    """See `core.training.engines.Engine`."""

    def __init__(self, setup: Setup) -> None:
        self.config, self._pack = setup.config, setup.pack
        self.device = torch.device(setup.device)
        keep_memory()
        torch.set_num_threads(setup.threads)
        prepare_device(self.device, deterministic=self.config.deterministic)
        self.batches = open_batches(setup.pack, self.device)
        self.network = layers(self.config, classes=len(self._pack.classes))
        self.net = self._build_net()
        self.average = AveragedNet(self.net, self.config.ema) if self.config.ema else None
        self.class_weights = self._weigh_classes(setup.train)
        self.choice = self._choose_precision(setup)
        self._forward = self._make_forward(self.net, _KINDS[self.choice.precision])
        self._look = self._make_forward(self.kept, torch.float32)
        self.optimizer = build_optimizer(self.config.optimizer, self.net)
        self.augment = make_augment(self.config.augmentation, channels=self._pack.channels)
        self._weights = list(self.net.parameters())
        self._draws = bool(self.augment or self.config.dropout)
        self.start_sums(loss=0.0, right=0)

    @property
    def _shape(self) -> Shape:
        return (self._pack.channels, self._pack.image_size, self._pack.image_size)

    def _build_net(self) -> nn.Sequential:
        seed_torch(self.config.seed, Purpose.WEIGHTS)
        net = build_net(self.network, self._shape, init=self.config.init)
        scale, shift = (torch.from_numpy(values) for values in scale_pixels(self.config, self._pack))
        net.get_submodule("scaling").load_state_dict({"scale": scale, "shift": shift})
        # A channels-last pack becomes a channels-last batch without a copy.
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave this form out
        return net.to(self.device)

    def _make_forward(self, net: nn.Sequential, dtype: torch.dtype) -> Forward:
        return make_forward(net, self.network, self._shape, device=self.device, dtype=dtype)

    def _choose_precision(self, setup: Setup) -> Choice:
        config = self.config
        if config.precision != "auto":
            return Choice(config.precision, "the config names it")
        if setup.precision:
            return Choice(setup.precision, "an earlier attempt has chosen it")
        if not has_bfloat16(self.device):
            return Choice("fp32", f"this {self.device.type} has no bfloat16")
        assert config.epochs is not None
        if config.epochs * len(setup.train) < _LEAST_WORK:
            return Choice("fp32", "so short a training is not worth a choice")
        return choose_precision(
            self._make_probe(setup.train),
            lambda measure: measure_once(setup.speeds, self._describe_work(setup), measure),
        )

    def _describe_work(self, setup: Setup) -> dict[str, Any]:
        """Return what the speed of a step depends on."""
        return {
            "processor": name_processor(),
            "device": str(self.device),
            "versions": self.versions,
            "threads": setup.threads,
            "network": [str(layer) for layer in self.network],
            "shape": self._shape,
            "batch_size": self.config.batch_size,
        }

    def _make_probe(self, train: Positions) -> Callable[[torch.dtype, int], torch.Tensor]:
        """Return the function that computes the gradient of one of two batches in a precision, on a copy of the net."""
        config = self.config
        assert config.batch_size is not None
        chosen = make_generator(config.seed, Purpose.PROBE).permutation(train)
        batches = np.array_split(chosen[: 2 * min(config.batch_size, _MOST_PROBED)], 2)
        inputs = [self.batches.take(positions) for positions in batches]
        net = deepcopy(self.net).train()
        forwards = {kind: self._make_forward(net, kind) for kind in _KINDS.values()}

        def compute(kind: torch.dtype, batch: int) -> torch.Tensor:
            seed_torch(config.seed, Purpose.PROBE)
            images, labels = inputs[batch]
            loss = measure_loss(config, forwards[kind](images), labels, self.class_weights)
            gradients = torch.autograd.grad(loss, list(net.parameters()))
            return torch.cat([gradient.flatten() for gradient in gradients]).cpu()

        return compute

    def _weigh_classes(self, train: Positions) -> torch.Tensor | None:
        if self.config.sampling.balance != "class_weights":
            return None
        weights = weigh_classes(train, self._pack.labels, len(self._pack.classes))
        return torch.from_numpy(weights).to(self.device)

    @property
    def kept(self) -> nn.Sequential:
        """Return the net that is looked at and kept: the averaged one where there is one."""
        return self.average.net if self.average else self.net

    @property
    def parameters(self) -> int:
        """Return how many numbers are trained."""
        return count_weights(self.net)

    @property
    def versions(self) -> dict[str, str]:
        """Return torch's version, and on a GPU its name and those of its libraries."""
        return {"torch": str(torch.__version__), **describe_device(self.device)}

    @property
    def source(self) -> str:
        """Return where the images are read from."""
        return self.batches.source

    def start_sums(self, *, loss: float, right: int) -> None:
        """Put the sums on the device, where reading them is the only thing that waits for it."""
        self.net.train()
        self._loss = torch.tensor(loss, dtype=torch.float64, device=self.device)
        self._right = torch.tensor(right, dtype=torch.int64, device=self.device)

    def read_sums(self) -> tuple[float, int]:
        """Bring the sums from the device."""
        return float(self._loss), int(self._right)

    def train(self, positions: Positions, step: Step) -> None:
        """Take one step on the images at ``positions``."""
        config = self.config
        if self._draws:
            seed_torch(config.seed, Purpose.STEP, step.epoch, step.batch)
        for group in self.optimizer.param_groups:
            group["lr"] = step.learning_rate
        images, labels = self.batches.take(positions)
        if self.augment:
            images = self.augment(images)
        logits = self._forward(images)
        loss = measure_loss(config, logits, labels, self.class_weights)
        for weight in self._weights:
            weight.grad = None
        (loss + penalize(self.net, l1=config.l1, l2=config.l2)).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.optimizer.step()
        if self.average:
            self.average.follow()
        self._loss += loss.detach() * len(positions)
        self._right += (logits.detach().argmax(dim=1) == labels).sum()

    def expect(self, positions: Positions) -> None:
        """Begin to bring the images of the next step."""
        self.batches.expect(positions)

    def compute_logits(self, positions: Positions, tick: Callable[[int], None]) -> Logits:
        """Return the logits ``(images, classes)``, which are brought from the device once."""
        self.kept.eval()
        pixels = _GPU_PIXELS_OF_A_BATCH if self.device.type == "cuda" else _PIXELS_OF_A_BATCH
        size = max(pixels // self._pack.image_size**2, 1)
        with torch.inference_mode():
            answers = torch.empty((len(positions), len(self._pack.classes)), device=self.device)
            for start in range(0, len(positions), size):
                chunk = positions[start : start + size]
                answers[start : start + size] = self._look(self.batches.images(chunk))
                self.batches.expect(positions[start + size : start + 2 * size])
                tick(len(chunk))
            given: Logits = answers.cpu().numpy()
        return given

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return a copy of the kept net's ``state_dict``."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.kept.state_dict().items()}

    def load_weights(self, weights: Arrays) -> None:
        """Take weights over; raises `ValueError` where they are not this net's."""
        try:
            self.net.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        if self.average:
            self.average.restart(self.net)

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """Return nets and optimiser as torch itself writes them: it keeps each tensor's type and order in memory."""
        buffer = io.BytesIO()
        state: dict[str, Any] = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.average:
            state |= {"average": self.average.net.state_dict(), "averaged_steps": self.average.steps}
        torch.save(state, buffer)
        return {"torch": np.frombuffer(buffer.getbuffer(), np.uint8)}

    def load(self, content: Arrays) -> None:
        """Take over what `dump` returned."""
        stored = io.BytesIO(content["torch"].tobytes())
        try:
            _refuse_packed(stored)
            state = torch.load(stored, map_location="cpu", weights_only=True)
            self.net.load_state_dict(state["net"])
            # Its options stay our own: those of a checkpoint from another device name that device's kernels.
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": state["optimizer"]["state"], "param_groups": groups})
            if self.average:
                self.average.net.load_state_dict(state["average"])
                self.average.steps = state["averaged_steps"]
        except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            raise ValueError(str(error)) from error


def _refuse_packed(stored: BinaryIO) -> None:
    """Raise `ValueError` where a file of torch's says that it holds more bytes than it has.

    Torch writes without compression and reads with it, so that a small file could fill the memory.
    """
    with zipfile.ZipFile(stored) as file:
        declared = sum(entry.file_size for entry in file.infolist())
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in file.infolist())
    if packed or declared > stored.seek(0, io.SEEK_END):
        raise ValueError("the state of the net and the optimiser unpacks to more than it is")
    stored.seek(0)


def seed_torch(seed: int, purpose: Purpose, epoch: int = 0, batch: int = 0) -> None:
    """Seed torch's global generators, the accelerator's too where one is in use.

    ``torch.manual_seed`` does the same and asks every kind of accelerator, which takes a hundred times as long.
    """
    derived = derive_seed(seed, purpose, epoch, batch)
    torch.default_generator.manual_seed(derived)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.cuda.manual_seed_all(derived)
