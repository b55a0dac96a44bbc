"""Every option of a training, as one model: the API, the CLI, the form, the JSON Schema and the docs are made of it.

What an option may be is said here; whether this version has it, and whether it can work together with the others
and with a dataset, is said by `core.domain.training_config`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from core.domain.engines import EngineName
from core.domain.layers import ActivationName, PoolingName
from core.domain.presets import DEFAULT_PRESET, PRESETS

ArchitectureName = Literal["lenet5", "lenet5-1998", "lenet5-bn", "lenet-wide", "lenet-deep"]
InitName = Literal[
    "default", "xavier_uniform", "xavier_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_1998"
]
Monitor = Literal["val_loss", "val_accuracy"]

_Rate = Annotated[float, Field(gt=0, le=10)]
_Decay = Annotated[float, Field(ge=0, le=1)]
_Fraction = Annotated[float, Field(ge=0, le=1)]
_Beta = Annotated[float, Field(ge=0, lt=1)]
_Strength = Annotated[float, Field(ge=0, le=10)]
# A JSON array is a list in Python; only the sequence itself is taken as either, its items stay strict.
_Betas = Annotated[tuple[_Beta, _Beta], Field(strict=False, description="Decay of the two running means.")]
_Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(strict=False, max_length=8)]
_Epochs = Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(strict=False, min_length=1, max_length=100)]


class Options(BaseModel):
    """Strict: no unknown names, no text or boolean where a number belongs, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Optimizer(Options):
    learning_rate: Annotated[_Rate, Field(description="Step size; schedules start from it.")] = 1e-3
    weight_decay: Annotated[_Decay, Field(description="Pull of every weight towards zero.")] = 0.0


class Adam(_Optimizer):
    """Adam (Kingma and Ba, 2014); its weight decay is added to the gradient."""

    name: Literal["adam"]
    betas: _Betas = (0.9, 0.999)


class AdamW(_Optimizer):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter, 2017)."""

    name: Literal["adamw"]
    betas: _Betas = (0.9, 0.999)
    weight_decay: Annotated[_Decay, Field(description="Pull of every weight towards zero.")] = 0.01


class NAdam(_Optimizer):
    """Adam with Nesterov momentum (Dozat, 2016)."""

    name: Literal["nadam"]
    betas: _Betas = (0.9, 0.999)


class Sgd(_Optimizer):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"]
    learning_rate: Annotated[_Rate, Field(description="Step size; schedules start from it.")] = 0.05
    momentum: Annotated[_Beta, Field(description="Share of the last step that goes on.")] = 0.9
    nesterov: Annotated[bool, Field(description="Take the gradient where the momentum leads.")] = False


class Muon(_Optimizer):
    """Momentum made orthogonal for matrices, AdamW for the rest (Jordan, 2024)."""

    name: Literal["muon"]
    learning_rate: Annotated[_Rate, Field(description="Step size; schedules start from it.")] = 0.02
    momentum: Annotated[_Beta, Field(description="Share of the last step that goes on.")] = 0.95
    nesterov: Annotated[bool, Field(description="Take the gradient where the momentum leads.")] = True


class RmsProp(_Optimizer):
    """RMSprop (Hinton, 2012)."""

    name: Literal["rmsprop"]
    momentum: Annotated[_Beta, Field(description="Share of the last step that goes on.")] = 0.0


class Adagrad(_Optimizer):
    """Adagrad (Duchi, 2011)."""

    name: Literal["adagrad"]
    learning_rate: Annotated[_Rate, Field(description="Step size; schedules start from it.")] = 0.01


Optimizer = Annotated[
    Adam | AdamW | NAdam | Sgd | Muon | RmsProp | Adagrad,
    Field(discriminator="name", description="How a gradient becomes a step."),
]


class _Scheduler(Options):
    warmup_epochs: Annotated[
        float, Field(ge=0, le=1000, description="The rate first rises in a line from 0 over these epochs.")
    ] = 0.0


class Constant(_Scheduler):
    """The same learning rate all along."""

    name: Literal["constant"]


class Step(_Scheduler):
    """The rate is multiplied by ``gamma`` every ``step_epochs`` epochs, counted from the end of the warm-up."""

    name: Literal["step"]
    step_epochs: Annotated[
        int,
        Field(ge=1, le=1000, description="Epochs between two drops, from the warm-up's end on."),
    ] = 10
    gamma: Annotated[_Fraction, Field(description="Factor of each drop.")] = 0.1


class MultiStep(_Scheduler):
    """The rate is multiplied by ``gamma`` after each epoch of ``milestones``, counted from the end of the warm-up."""

    name: Literal["multistep"]
    milestones: Annotated[_Epochs, Field(description="Epochs after which the rate drops, from the warm-up's end on.")]
    gamma: Annotated[_Fraction, Field(description="Factor of each drop.")] = 0.1


class Exponential(_Scheduler):
    """The rate is multiplied by ``gamma`` after each epoch that follows the warm-up."""

    name: Literal["exponential"]
    gamma: Annotated[_Fraction, Field(description="Factor of each epoch.")] = 0.95


class Cosine(_Scheduler):
    """Half a cosine wave from the rate down to ``final_fraction`` of it at the last step."""

    name: Literal["cosine"]
    final_fraction: Annotated[_Fraction, Field(description="What is left of the rate at the end.")] = 0.0


class OneCycle(_Scheduler):
    """Up from the learning rate to ``max_learning_rate`` and down to almost nothing (Smith, 2017), in half cosines."""

    name: Literal["one_cycle"]
    max_learning_rate: Annotated[_Rate, Field(description="The rate at the top.")]
    rise: Annotated[float, Field(gt=0, lt=1, description="Share of the steps on the way up.")] = 0.3
    final_fraction: Annotated[_Fraction, Field(description="What is left of the learning rate at the end.")] = 0.0


class ReduceOnPlateau(_Scheduler):
    """The rate is multiplied by ``gamma`` when the validation loss has not fallen for ``patience`` epochs."""

    name: Literal["reduce_on_plateau"]
    gamma: Annotated[_Fraction, Field(description="Factor of each drop.")] = 0.1
    patience: Annotated[int, Field(ge=1, le=1000, description="Epochs without progress before a drop.")] = 5


Scheduler = Annotated[
    Constant | Step | MultiStep | Exponential | Cosine | OneCycle | ReduceOnPlateau,
    Field(discriminator="name", description="How the learning rate changes over the training."),
]


class EarlyStopping(Options):
    """End when the monitored value has not improved for some epochs."""

    monitor: Annotated[Monitor, Field(description="What must improve.")] = "val_loss"
    patience: Annotated[int, Field(ge=1, le=1000, description="Epochs without progress before the end.")] = 10
    min_delta: Annotated[float, Field(ge=0, le=100, description="The least change that counts as progress.")] = 0.0
    restore_best: Annotated[bool, Field(description="Keep the weights of the best epoch, not of the last.")] = True


class Augmentation(Options):
    """Random changes, drawn for each image anew. Every option left out does nothing."""

    rotation: Annotated[float, Field(ge=0, le=180, description="Turn by up to this many degrees.")] = 0.0
    translate: Annotated[_Fraction, Field(description="Shift by up to this share of the side.")] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1, description="Zoom by up to this share, in or out.")] = 0.0
    squeeze: Annotated[
        float, Field(ge=0, lt=1, description="Narrower and taller, or wider and flatter, by up to this share.")
    ] = 0.0
    shear: Annotated[float, Field(ge=0, le=60, description="Shear by up to this many degrees.")] = 0.0
    horizontal_flip: Annotated[bool, Field(description="Mirror left and right, half of the time.")] = False
    vertical_flip: Annotated[bool, Field(description="Mirror top and bottom, half of the time.")] = False
    crop_padding: Annotated[int, Field(ge=0, le=32, description="Pad by so many pixels, then crop at random.")] = 0
    brightness: Annotated[_Fraction, Field(description="Lighter or darker by up to this share of the range.")] = 0.0
    contrast: Annotated[_Fraction, Field(description="More or less contrast by up to this share.")] = 0.0
    saturation: Annotated[_Fraction, Field(description="More or less colour by up to this share.")] = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5, description="Turn the colours by up to this share of a circle.")] = 0.0
    erasing: Annotated[_Fraction, Field(description="Probability that a rectangle is blanked.")] = 0.0
    elastic: Annotated[_Strength, Field(description="Strength of elastic distortion, in pixels.")] = 0.0


class Sampling(Options):
    """Which training images an epoch takes; validation and test images stay as they are."""

    balance: Annotated[
        Literal["none", "oversample", "undersample", "class_weights"], Field(description="How rare classes are helped.")
    ] = "none"
    fraction: Annotated[float, Field(gt=0, le=1, description="Share of each class's images that is used.")] = 1.0
    max_per_class: Annotated[int | None, Field(ge=1, lt=2**31, description="Most images of a class.")] = None


class Validation(Options):
    """The share of the training split that validates, where the dataset has no validation split."""

    fraction: Annotated[float, Field(ge=0, le=0.5, description="Share of each class; 0 trains without validation.")] = (
        0.1
    )


def _augmentation_tag(value: object) -> str:
    return "drawn" if isinstance(value, Mapping | Augmentation) else "named"


class TrainingConfig(Options):
    """The whole config of a training.

    An option that is ``None`` is chosen from the architecture (``dense``, ``batch_norm``, ``dropout``) or from the
    dataset (``epochs``, ``batch_size``); a job stores what was chosen.
    """

    preset: Annotated[
        str,
        Field(
            max_length=100,
            description="Set of options to start from; options given beside it override it.",
            json_schema_extra={"enum": sorted(PRESETS)},
        ),
    ] = DEFAULT_PRESET
    architecture: Annotated[ArchitectureName, Field(description="Which network of the family.")] = "lenet5"
    color_mode: Annotated[
        Literal["auto", "grayscale", "rgb"], Field(description="One channel or three; auto is what the dataset is.")
    ] = "auto"
    image_size: Annotated[int, Field(ge=28, le=128, description="Side in pixels that images are brought to.")] = 32
    activation: Annotated[ActivationName, Field(description="Function after each hidden layer.")] = "relu"
    pooling: Annotated[
        PoolingName, Field(description="Largest or mean value of each 2×2 square, or its sum by trained coefficients.")
    ] = "max"
    dense: Annotated[
        _Widths | None, Field(description="Widths of the dense layers before the classes. Default: the architecture's.")
    ] = None
    batch_norm: Annotated[
        bool | None, Field(description="Normalise after each convolution. Default: the architecture's.")
    ] = None
    dropout: Annotated[
        float | None, Field(ge=0, le=0.9, description="Dropout after each dense layer. Default: the architecture's.")
    ] = None
    init: Annotated[InitName, Field(description="How the weights are drawn at the start.")] = "default"
    epochs: Annotated[
        int | None,
        Field(ge=1, le=1000, description="Passes over the training images. Default: enough steps for the dataset."),
    ] = None
    batch_size: Annotated[
        int | None, Field(ge=1, le=8192, description="Images of one step. Default: by the dataset's size.")
    ] = None
    optimizer: Optimizer = Adam(name="adam")
    l1: Annotated[_Decay, Field(description="Penalty on the sum of absolute weights, biases and norms apart.")] = 0.0
    l2: Annotated[_Decay, Field(description="Penalty on the sum of squared weights, biases and norms apart.")] = 0.0
    scheduler: Scheduler = Constant(name="constant")
    loss: Annotated[
        Literal["cross_entropy", "mse_one_hot", "map"],
        Field(
            description=(
                "What is made small: cross-entropy; the squared distance of the probabilities from 1 for the class "
                "and 0 for the others; or, as map, the criterion of lenet5-1998's paper (equation 9). Validation and "
                "test losses are cross-entropy in any case."
            )
        ),
    ] = "cross_entropy"
    label_smoothing: Annotated[
        float, Field(ge=0, le=0.5, description="Share of each label that goes to all classes alike.")
    ] = 0.0
    early_stopping: Annotated[EarlyStopping | None, Field(description="When to end before the last epoch.")] = None
    augmentation: Annotated[
        Annotated[Literal["none", "light", "strong"], Tag("named")] | Annotated[Augmentation, Tag("drawn")],
        Discriminator(_augmentation_tag),
        Field(description="Random changes to the training images: a named strength, or each by itself."),
    ] = "none"
    sampling: Annotated[Sampling, Field(description="How many of each class an epoch takes.")] = Sampling()
    normalize: Annotated[
        Literal["dataset", "unit", "none", "lecun_1998"],
        Field(
            description="Pixels by the training split's mean and deviation, in 0–1, as they are in 0–255, "
            "or in −0.1–1.175 as in the paper of 1998."
        ),
    ] = "dataset"
    validation: Annotated[Validation, Field(description="How validation images are found.")] = Validation()
    ema: Annotated[
        float | None, Field(gt=0, lt=1, description="Decay of averaged weights, which are then what is kept.")
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**31, description="Start of every random draw.")] = 0
    deterministic: Annotated[
        bool, Field(description="The same config, data, device and threads give the same weights to the bit.")
    ] = True
    engine: Annotated[
        EngineName, Field(description="What computes: numpy, on processors alone, trains lenet5 without torch.")
    ] = "torch"
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="Where it computes.")] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Field(
            description=(
                "Numbers that training steps compute in. auto tries both on the machine, takes bf16 where it is "
                "clearly faster and as good, and records what it took; name one to repeat a training to the bit."
            )
        ),
    ] = "auto"
    checkpoint_every: Annotated[
        int, Field(ge=1, le=1000, description="Epochs between checkpoints; at least every 60 s in any case.")
    ] = 1

    def plain(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        return self.model_dump(mode="json")
