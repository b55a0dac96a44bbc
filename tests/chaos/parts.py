"""Which of a test's parameters are in the fault suite's short part."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def shorten(values: Iterable[str], *, short: Collection[str]) -> list[Any]:
    """Return the values for `pytest.mark.parametrize`; those that ``short`` lacks are in the long part alone."""
    return [value if value in short else pytest.param(value, marks=pytest.mark.long) for value in values]
