"""From what a person sent to a config that can train: presets, defaults, and every reason why it cannot."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, log2
from typing import Any

from pydantic import ValidationError

from core.domain.architectures import ARCHITECTURES, describe
from core.domain.datasets import ColorMode
from core.domain.engines import find_missing
from core.domain.layers import TooSmallError
from core.domain.presets import DEFAULT_PRESETS, PRESETS
from core.domain.sampling import count_held_out, count_kept, count_taken
from core.domain.training_options import (
    Augmentation,
    Muon,
    OneCycle,
    ReduceOnPlateau,
    Scheduler,
    Sgd,
    TrainingConfig,
)
from core.errors import Fault, InvalidError

__all__ = ["TrainingConfig", "check", "resolve", "settle"]

ROOT = "/config"
# Where epochs are not given: as many steps as MNIST takes in ten epochs, or CIFAR-10 in twenty, within these bounds.
# Photos go on getting better where drawings have long been learnt.
_STEPS: Mapping[ColorMode, int] = {"grayscale": 4220, "rgb": 7040}
_FEWEST_EPOCHS, _MOST_EPOCHS = 8, 100
# Where the batch size is not given: a power of two that makes at least this many steps an epoch, within these bounds.
_STEPS_OF_AN_EPOCH = 32
_SMALLEST_BATCH, _LARGEST_BATCH = 16, 128


def resolve(raw: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> TrainingConfig:
    """Return ``raw`` with every option that it leaves out.

    Options come, the later over the earlier, from the preset, from ``base`` and from ``raw``. A preset that ``raw``
    itself names goes over ``base``; where nothing names one, it is the default of the engine. Options of the
    architecture (``dense``, …) come with it unless given.

    Args:
        raw: What a person sent as ``config``.
        base: The config of another job, to start from.

    Raises:
        InvalidError: With every fault, each at its pointer under ``/config``.
    """
    merged = _merge_all(raw, base)
    faults = [*_unknown_preset(merged)]
    try:
        config = TrainingConfig.model_validate(merged)
    except ValidationError as error:
        faults += _invalid_values(merged, error)
    else:
        faults += _contradictions(config)
    if faults:
        raise _refusal(faults)
    return config


def settle(
    config: TrainingConfig,
    *,
    classes: int,
    train_images: int,
    color_mode: ColorMode,
    validation_images: int = 0,
    class_images: Sequence[int] | None = None,
) -> TrainingConfig:
    """Return ``config`` with what depends on the dataset: colour mode, batch size and epochs.

    Args:
        config: A resolved config; what it has already stays.
        classes: Number of classes.
        train_images: Images of the training split.
        color_mode: What the dataset's images are.
        validation_images: Images of the dataset's own validation split; 0 where it has none.
        class_images: Training images of each class, where they are known: what ``sampling`` leaves depends on them.

    Raises:
        InvalidError: The config cannot work with the dataset; with every fault.
    """
    faults = check(
        config,
        classes=classes,
        train_images=train_images,
        validation_images=validation_images,
        class_images=class_images,
        color_mode=color_mode,
    )
    if faults:
        raise _refusal(faults)
    taken = _count_epoch(config, class_images or [train_images], hold_out=not validation_images)
    batch_size = config.batch_size or _choose_batch_size(taken)
    color_mode = color_mode if config.color_mode == "auto" else config.color_mode
    epochs = config.epochs or _choose_epochs(ceil(taken / batch_size), color_mode)
    if faults := list(_long_warmup(config.scheduler, epochs)):
        raise _refusal(faults)
    return config.model_copy(update={"color_mode": color_mode, "batch_size": batch_size, "epochs": epochs})


def check(
    config: TrainingConfig,
    *,
    classes: int,
    train_images: int,
    validation_images: int = 0,
    class_images: Sequence[int] | None = None,
    color_mode: ColorMode | None = None,
) -> list[Fault]:
    """Return every reason why ``config`` cannot train on such a dataset; arguments as in `settle`."""
    faults = [*_unfit_dataset(classes, train_images, class_images), *_unfit_network(config, max(classes, 1))]
    if not validation_images and not sum(count_held_out(class_images or [train_images], config.validation.fraction)):
        faults += _missing_validation(config)
    if (color_mode if config.color_mode == "auto" else config.color_mode) == "grayscale":
        faults += _missing_colors(config)
    return faults


def _count_epoch(config: TrainingConfig, class_images: Sequence[int], *, hold_out: bool) -> int:
    """Return how many images an epoch takes."""
    held = count_held_out(class_images, config.validation.fraction if hold_out else 0.0)
    trained = [count - away for count, away in zip(class_images, held, strict=True)]
    return sum(count_taken(count_kept(trained, config.sampling), config.sampling))


def _missing_colors(config: TrainingConfig) -> Iterator[Fault]:
    for option in ("saturation", "hue") if isinstance(config.augmentation, Augmentation) else ():
        if getattr(config.augmentation, option):
            yield Fault(f"{ROOT}/augmentation/{option}", "needs colours, and the images are grayscale")


def _unfit_dataset(classes: int, train_images: int, class_images: Sequence[int] | None) -> Iterator[Fault]:
    if classes < 2:
        yield Fault("/dataset_id", f"a classifier needs at least two classes; the dataset has {classes}")
    elif train_images < classes:
        yield Fault("/dataset_id", f"{train_images} training images are fewer than the {classes} classes")
    elif class_images is not None and sum(map(bool, class_images)) < 2:
        yield Fault("/dataset_id", "a classifier needs two classes, and every training image is of the same one")


def _unfit_network(config: TrainingConfig, classes: int) -> Iterator[Fault]:
    try:
        shape = describe(config, channels=1, classes=classes)[-2].output_shape
    except TooSmallError as error:
        yield Fault(f"{ROOT}/image_size", f"too small for {config.architecture}: {error}")
        return
    # With twice the bits that tell the classes apart, codes drawn at random are far from each other.
    least = ceil(2 * log2(classes))
    if ARCHITECTURES[config.architecture].has_codes and shape[0] < least:
        yield Fault(f"{ROOT}/dense", f"the last width must be {least} or more, for {classes} classes to have own codes")


def _missing_validation(config: TrainingConfig) -> Iterator[Fault]:
    fraction = config.validation.fraction
    reason = f"validation.fraction {fraction:g} of so few images is none" if fraction else "validation.fraction is 0"
    if config.early_stopping:
        yield Fault(f"{ROOT}/early_stopping", f"needs validation images, and {reason}")
    if isinstance(config.scheduler, ReduceOnPlateau):
        yield Fault(f"{ROOT}/scheduler/name", f"needs validation images, and {reason}")


def _choose_batch_size(images: int) -> int:
    size = _LARGEST_BATCH
    while size > _SMALLEST_BATCH and images < size * _STEPS_OF_AN_EPOCH:
        size //= 2
    return size


def _choose_epochs(steps_of_an_epoch: int, color_mode: ColorMode) -> int:
    return min(max(ceil(_STEPS[color_mode] / steps_of_an_epoch), _FEWEST_EPOCHS), _MOST_EPOCHS)


def _merge_all(raw: Mapping[str, Any], base: Mapping[str, Any] | None) -> dict[str, Any]:
    merged: dict[str, Any] = {} if base is None else _without_architecture_defaults(base)
    if base is None or "preset" in raw:
        preset = raw.get("preset", _default_preset(raw))
        merged["preset"] = preset
        options = PRESETS[preset].options if isinstance(preset, str) and preset in PRESETS else {}
        merged = _merge(merged, options)
    before, name = merged.get("architecture"), raw.get("architecture", merged.get("architecture", "lenet5"))
    architecture = ARCHITECTURES.get(_text(name))  # type: ignore[call-overload]  # any text may stand there
    if architecture and architecture.is_whole and name != before:
        merged = {option: value for option, value in merged.items() if option not in architecture.defaults}
    merged = _merge(merged, raw)
    for name, value in (architecture.defaults if architecture else {}).items():
        if merged.get(name) is None:
            merged[name] = value
    return merged


def _default_preset(raw: Mapping[str, Any]) -> str:
    """Return the preset of a config that names none: one that its engine has everything for."""
    return DEFAULT_PRESETS["numpy" if raw.get("engine") == "numpy" else "torch"]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _without_architecture_defaults(base: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what came with the base's architecture, so that another one brings its own."""
    architecture = ARCHITECTURES.get(base.get("architecture"))  # type: ignore[arg-type]  # None is not in it
    defaults = TrainingConfig.model_validate(architecture.defaults).plain() if architecture else {}
    return {
        name: value
        for name, value in base.items()
        if not (architecture and name in architecture.defaults and value == defaults[name])
    }


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, ``above`` winning; groups are merged too, unless their ``name`` makes them another kind."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        if (
            isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and value.get("name", old.get("name")) == old.get("name")
        ):
            merged[name] = _merge(old, value)
        else:
            merged[name] = value
    return merged


def _invalid_values(merged: Mapping[str, Any], error: ValidationError) -> list[Fault]:
    return [
        Fault(_pointer(merged, details["loc"], details["type"]), details["msg"])
        for details in error.errors(include_url=False, include_input=False)
    ]


def _pointer(merged: object, location: tuple[int | str, ...], kind: str) -> str:
    """Return the pointer of an error: its location without the names of the union's members."""
    parts, here = [ROOT], merged
    for place, part in enumerate(location):
        last = place == len(location) - 1
        if isinstance(here, Mapping) and part in here:
            here = here[part]
        elif isinstance(here, list | tuple) and isinstance(part, int):
            here = here[part] if part < len(here) else None
        elif not (last and kind == "missing"):
            continue
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
    if kind.startswith("union_tag"):
        parts.append("name")
    return "/".join(parts)


def _unknown_preset(merged: Mapping[str, Any]) -> Iterator[Fault]:
    preset = merged.get("preset")
    if isinstance(preset, str) and preset not in PRESETS:
        yield Fault(f"{ROOT}/preset", f"there is no such preset; there are {', '.join(sorted(PRESETS))}")


def _contradictions(config: TrainingConfig) -> Iterator[Fault]:
    yield from (Fault(f"{ROOT}/{path}", detail) for path, detail in find_missing(config.plain()))
    if config.architecture == "lenet5-bn" and config.batch_norm is False:
        yield Fault(f"{ROOT}/batch_norm", "lenet5-bn is lenet5 with batch normalisation; without it take lenet5")
    if config.loss == "map" and not ARCHITECTURES[config.architecture].has_codes:
        yield Fault(f"{ROOT}/loss", "map is the criterion of distances from codes, which lenet5-1998 has")
    if config.loss == "map" and config.label_smoothing:
        yield Fault(f"{ROOT}/label_smoothing", "map takes the labels as they are")
    if config.dropout and not config.dense:
        yield Fault(f"{ROOT}/dropout", "there is no dense layer that it could act on")
    optimizer, scheduler = config.optimizer, config.scheduler
    if isinstance(optimizer, Sgd | Muon) and optimizer.nesterov and not optimizer.momentum:
        yield Fault(f"{ROOT}/optimizer/nesterov", "needs a momentum above 0")
    if isinstance(scheduler, OneCycle) and scheduler.max_learning_rate <= optimizer.learning_rate:
        detail = f"must be above the learning rate that it starts from ({optimizer.learning_rate:g})"
        yield Fault(f"{ROOT}/scheduler/max_learning_rate", detail)
    if config.epochs is not None:
        yield from _long_warmup(scheduler, config.epochs)


def _long_warmup(scheduler: Scheduler, epochs: int) -> Iterator[Fault]:
    if scheduler.warmup_epochs >= epochs:
        yield Fault(f"{ROOT}/scheduler/warmup_epochs", f"must be less than the {epochs} epochs")


def _refusal(faults: list[Fault]) -> InvalidError:
    return InvalidError("The config cannot be trained.", code="invalid_config", faults=faults)
