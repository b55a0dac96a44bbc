"""The ledger: one line of JSON for each entry of an archive, in its order."""

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.datasets.findings import Findings
from core.datasets.layout import NOTES
from core.domain.datasets import SPLITS, EntryCounts, LedgerEntry, Outcome


def write_ledger(path: Path, findings: Findings, splits: npt.NDArray[np.int8]) -> EntryCounts:
    """Write the ledger and return how many entries it has of each outcome.

    The lines are put together by hand: a million pydantic models would take longer than decoding the images.
    """
    layout, members = findings.layout, findings.archive.members
    columns = (findings.accepted, splits, layout.labels, layout.notes, findings.modes, findings.sizes)
    counts = dict.fromkeys(Outcome, 0)
    rows = zip(members.names, *(column.tolist() for column in columns), strict=True)
    with path.open("w", encoding="utf-8") as file:
        for position, (name, accepted, split, label, note, mode, (width, height)) in enumerate(rows):
            if note:
                outcome, rest = Outcome.IGNORED, _end_ignored(NOTES[note])
            elif accepted:
                outcome = Outcome.ACCEPTED
                rest = _end_accepted(SPLITS[split], layout.classes[label], width, height, findings.mode_names[mode])
            else:
                outcome = Outcome.REJECTED
                rest = _end_rejected(SPLITS[split], layout.classes[label], findings.rejected.get(position, ""))
            counts[outcome] += 1
            file.write(f'{{"position": {position}, "path": {json.dumps(name)}, {rest}')
    return EntryCounts(**counts)


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


def read_ledger(path: Path) -> Iterator[LedgerEntry]:
    """Yield the entries of a ledger."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield LedgerEntry.model_validate_json(line)
