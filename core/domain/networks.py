"""A network as plain values, so that a file of weights says by itself how to compute with them."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from core.domain.layers import Layer


def describe_network(network: Sequence[Layer]) -> list[dict[str, Any]]:
    """Return each layer's ``kind`` (its class in lower case), ``name`` and options, in order, as JSON values."""
    return [_describe(layer) for layer in network]


def _describe(layer: Layer) -> dict[str, Any]:
    options = {name: _plain(value) for name, value in asdict(layer).items()}
    return {"kind": type(layer).__name__.lower(), **options}


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
