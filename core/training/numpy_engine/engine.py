"""The engine that `core.training.engine_factory` opens for ``engine: numpy``."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from core.domain.architectures import layers
from core.training.draws import Purpose, make_generator
from core.training.engines import Arrays, Choice, Logits, Setup, Step
from core.training.images import Positions, scale_pixels
from core.training.numpy_engine.blocks import Array, Workspace
from core.training.numpy_engine.initialization import draw_weights
from core.training.numpy_engine.losses import cross_entropy
from core.training.numpy_engine.nets import Net
from core.training.numpy_engine.optimizers import add_penalties, build_optimizer

# Evaluated in batches of about this many pixels, which stay in the processor's cache.
_PIXELS_OF_A_BATCH = 2**17


class NumpyEngine:
    """See `core.training.engines.Engine`.

    It uses the threads that NumPy's BLAS was told to use when NumPy was loaded: there is no portable way to change
    them later. A worker sets them before it starts a trainer; ``threads`` of the job only says how many they are.
    """

    def __init__(self, setup: Setup) -> None:
        self._config, self._pack = setup.config, setup.pack
        self._space = Workspace()
        shape = (self._pack.channels, self._pack.image_size, self._pack.image_size)
        self.net = Net(layers(self._config, classes=len(self._pack.classes)), shape)
        draw_weights(self.net.parameters, self._config.init, make_generator(self._config.seed, Purpose.WEIGHTS))
        self._optimizer = build_optimizer(self._config.optimizer, self.net.parameters)
        self._scale, self._shift = scale_pixels(self._config, self._pack)
        self.start_sums(loss=0.0, right=0)

    @property
    def parameters(self) -> int:
        """Return how many numbers are trained."""
        return self.net.parameters.values.size

    @property
    def choice(self) -> Choice:
        """Return single precision."""
        return Choice("fp32", "NumPy computes in no other")

    @property
    def versions(self) -> dict[str, str]:
        """Return the version of the library that multiplies matrices; NumPy's own is in every report."""
        build: Any = np.show_config(mode="dicts")
        blas = build["Build Dependencies"]["blas"]
        return {"numpy": np.__version__, "blas": f"{blas['name']} {blas['version']}"}

    @property
    def source(self) -> str:
        """Return the map."""
        return "the mapped pack"

    def start_sums(self, *, loss: float, right: int) -> None:
        """Begin the sums at these values."""
        self._loss, self._right = loss, right

    def read_sums(self) -> tuple[float, int]:
        """Return the sums."""
        return self._loss, self._right

    def train(self, positions: Positions, step: Step) -> None:
        """Take one step on the images at ``positions``."""
        config, labels = self._config, self._pack.labels[positions]
        self.net.generator = make_generator(config.seed, Purpose.STEP, step.epoch, step.batch)
        with np.errstate(all="ignore"):  # What overflows shows in the loss, which ends the training.
            logits = self.net.forward(self._images(positions))
            loss, gradient = cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
            self.net.backward(gradient)
            add_penalties(self.net.parameters, l1=config.l1, l2=config.l2)
            self._optimizer.step(step.learning_rate)
        self._loss += loss * len(positions)
        self._right += int((logits.argmax(axis=0) == labels).sum())

    def expect(self, positions: Positions) -> None:
        """Do nothing: what is read is there at once."""

    def compute_logits(self, positions: Positions, tick: Callable[[int], None]) -> Logits:
        """Return the logits ``(images, classes)``."""
        self.net.generator = None
        given = np.empty((len(positions), len(self._pack.classes)), np.float32)
        size = max(_PIXELS_OF_A_BATCH // self._pack.image_size**2, 1)
        for start in range(0, len(positions), size):
            chunk = positions[start : start + size]
            with np.errstate(all="ignore"):
                given[start : start + size] = self.net.forward(self._images(chunk)).T
            tick(len(chunk))
        return given

    def _images(self, positions: Positions) -> Array:
        """Return the images ``(height, width, channels, batch)``, scaled."""
        pixels = np.take(self._pack.pixels, positions, axis=0)
        batch, *shape = pixels.shape
        # Turned as bytes, which is a quarter of the traffic of turning floats.
        turned = np.ascontiguousarray(pixels.reshape(batch, -1).T).reshape(*shape, batch)
        images = np.multiply(turned, self._scale[:, 0], out=self._space.take("images", turned.shape, np.float32))
        images += self._shift[:, 0]
        return images

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return a copy of the weights, named as in torch's ``state_dict``."""
        trained = {name: weight.copy() for name, weight in self.net.parameters.value_of.items()}
        return {"scaling.scale": self._scale.copy(), "scaling.shift": self._shift.copy(), **trained}

    def load_weights(self, weights: Arrays) -> None:
        """Take weights over; raises `ValueError` where they are not this net's."""
        own = {"scaling.scale": self._scale, "scaling.shift": self._shift, **self.net.parameters.value_of}
        shapes = {name: array.shape for name, array in weights.items()}
        if shapes != {name: array.shape for name, array in own.items()}:
            raise ValueError("the weights are not those of this net")
        for name, array in own.items():
            array[...] = weights[name]

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """Return weights and what the optimiser remembers."""
        return {"values": self.net.parameters.values, **self._optimizer.state()}

    def load(self, content: Arrays) -> None:
        """Take over what `dump` returned."""
        values = content["values"]
        if values.shape != self.net.parameters.values.shape:
            raise ValueError("the weights are not those of this net")
        self.net.parameters.values[...] = values
        self._optimizer.restore(content)
