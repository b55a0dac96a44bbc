"""Training configs as people write them: a JSON or TOML file, and single options by their dotted names."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from client.errors import InputError


def read_config(file: Path | None, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Return the config of a file with single options set over it.

    Args:
        file: JSON, or TOML where its name ends so; ``None`` begins with no option.
        settings: ``dotted.name=value``; the value is JSON, or else a word as it stands.

    Raises:
        InputError: The file or a setting cannot be read, or names a group within what is none.
    """
    config = _read(file) if file else {}
    for setting in settings:
        name, sign, value = setting.partition("=")
        if not sign or not all(name.split(".")):
            raise InputError(f"{setting!r} is not a setting; one looks like optimizer.learning_rate=0.01.")
        _set(config, name, _value(value))
    return config


def _read(file: Path) -> dict[str, Any]:
    try:
        content = file.read_text(encoding="utf-8")
        config = tomllib.loads(content) if file.suffix == ".toml" else json.loads(content)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise InputError(f"{file} is not {'TOML' if file.suffix == '.toml' else 'JSON'}: {error}.") from error
    if not isinstance(config, dict):
        raise InputError(f"{file} does not hold a group of options.")
    return config


def _value(word: str) -> Any:
    try:
        return json.loads(word, parse_constant=_refuse)
    except ValueError:
        return word


def _refuse(word: str) -> NoReturn:
    # NaN and the infinities are no JSON, though Python reads them.
    raise ValueError(word)


def _set(config: dict[str, Any], name: str, value: Any) -> None:
    *groups, option = name.split(".")
    group = config
    for part in groups:
        group = group.setdefault(part, {})
        if not isinstance(group, dict):
            raise InputError(f"{name} cannot be set: {part} is {json.dumps(group)}, not a group of options.")
    group[option] = value
