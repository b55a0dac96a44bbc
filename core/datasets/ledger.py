"""The ledger: one line of JSON for each entry of an archive, in its order, with the keys of a `DatasetEntryRow`."""

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.datasets.findings import Findings
from core.datasets.layout import NOTES
from core.domain.datasets import SPLITS, EntryCounts, Outcome

_LINES_AT_ONCE = 4096
_OUTCOMES = tuple(Outcome)
_ACCEPTED, _REJECTED, _IGNORED = map(_OUTCOMES.index, (Outcome.ACCEPTED, Outcome.REJECTED, Outcome.IGNORED))


def write_ledger(path: Path, findings: Findings, splits: npt.NDArray[np.int8]) -> EntryCounts:
    """Write the ledger and return how many entries it has of each outcome.

    The lines are put together by hand: a million pydantic models would take longer than decoding the images.
    """
    outcomes = np.where(findings.layout.notes > 0, _IGNORED, np.where(findings.accepted, _ACCEPTED, _REJECTED))
    with path.open("w", encoding="utf-8") as file:
        for first in range(0, len(outcomes), _LINES_AT_ONCE):
            span = slice(first, first + _LINES_AT_ONCE)
            names = json.dumps(findings.archive.members.names[span], separators=("\n", ":"))[1:-1].split("\n")
            ends = _iterate_ends(findings, splits, outcomes, span)
            lines = enumerate(zip(names, ends, strict=True), first)
            file.write("".join([f'{{"position": {place}, "path": {name}, {end}' for place, (name, end) in lines]))
    counts = np.bincount(outcomes, minlength=len(_OUTCOMES)).tolist()
    return EntryCounts(**dict(zip(_OUTCOMES, counts, strict=True)))


def _iterate_ends(
    findings: Findings, splits: npt.NDArray[np.int8], outcomes: npt.NDArray[np.int64], span: slice
) -> Iterator[str]:
    """Yield what stands behind the path in each line."""
    layout, modes = findings.layout, findings.mode_names
    columns = (outcomes, splits, layout.labels, layout.notes, findings.modes, findings.sizes)
    rows = zip(*(column[span].tolist() for column in columns), strict=True)
    for position, (outcome, split, label, note, mode, (width, height)) in enumerate(rows, span.start):
        if outcome == _IGNORED:
            yield _end_ignored(NOTES[note])
        elif outcome == _ACCEPTED:
            yield _end_accepted(SPLITS[split], layout.classes[label], width, height, modes[mode])
        else:
            yield _end_rejected(SPLITS[split], layout.classes[label], findings.rejected.get(position, ""))


@lru_cache
def _end_ignored(reason: str) -> str:
    return _end(outcome=Outcome.IGNORED, reason=reason)


@lru_cache(maxsize=4096)
def _end_accepted(split: str, class_name: str, width: int, height: int, mode: str) -> str:
    return _end(outcome=Outcome.ACCEPTED, split=split, class_name=class_name, width=width, height=height, mode=mode)


@lru_cache(maxsize=4096)
def _end_rejected(split: str, class_name: str, reason: str) -> str:
    return _end(outcome=Outcome.REJECTED, split=split, class_name=class_name, reason=reason)


def _end(**fields: object) -> str:
    return json.dumps(fields)[1:] + "\n"
