"""Turning an archive into a dataset: one pass over its images, then the pack, ledger, manifest and preview."""

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.datasets.archives import open_archive
from core.datasets.checks import check_images, count_images, find_warnings, make_splits
from core.datasets.decoding import Job, Preview
from core.datasets.findings import Findings, OnProgress
from core.datasets.layout import NO_SPLIT, Layout, arrange
from core.datasets.ledger import write_ledger
from core.datasets.limits import ArchiveLimits
from core.datasets.members import FaultList
from core.datasets.packs import write_pack
from core.datasets.preview import choose_previews, draw_preview, preview_side
from core.domain.datasets import SPLITS, ColorMode, EntryCounts, ImageSummary, Manifest

IMAGE_SIZE = 32
STALL_SECONDS = 20.0
_DECODING_SHARE = 0.95


@dataclass(frozen=True)
class IngestResult:
    """What ingest has made beside its files.

    Attributes:
        manifest: As in ``manifest.json``.
        digest: SHA-256 of the pack, in hexadecimal.
        image_size: Side of the pack's images in pixels.
    """

    manifest: Manifest
    digest: str
    image_size: int


def ignore_progress(_: float) -> None:
    """Stand in where nobody wants to know."""


def ingest(
    archive: Path,
    output: Path,
    *,
    limits: ArchiveLimits,
    image_size: int = IMAGE_SIZE,
    processes: int | None = None,
    stall_seconds: float = STALL_SECONDS,
    on_progress: OnProgress = ignore_progress,
) -> IngestResult:
    """Read an archive and write ``pack``, ``ledger.jsonl``, ``manifest.json`` and ``preview.png`` into a folder.

    It forks, so it wants a process with one thread: elsewhere use `core.datasets.process.run_ingest`.

    Args:
        archive: A ZIP, tar or tar.gz.
        output: An existing folder.
        limits: What the archive has to keep.
        image_size: Side of the pack's images in pixels.
        processes: Decoding processes; by default as many as cores.
        stall_seconds: Longest time that one image may take.
        on_progress: Called with the share that is done.

    Raises:
        DatasetRejectedError: With every reason. Where the images were decoded before, the ledger is written.
        OSError: The folder cannot be written to.
    """
    with _decoded(
        archive,
        output,
        limits=limits,
        image_size=image_size,
        color_mode=None,
        processes=processes,
        stall_seconds=stall_seconds,
        on_progress=on_progress,
    ) as findings:
        splits = make_splits(findings)
        entries = write_ledger(output / "ledger.jsonl", findings, splits)
        check_images(findings)
        manifest = _make_manifest(findings, splits, entries)
        digest = _write_pack(
            findings,
            splits,
            output / "pack",
            image_size=image_size,
            color_mode=manifest.color_mode,
            on_progress=on_progress,
        )
        draw_preview(findings.layout.classes, _collect_previews(findings)).save(output / "preview.png")
        (output / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
        on_progress(1.0)
        return IngestResult(manifest, digest, image_size)


def build_pack(
    archive: Path,
    output: Path,
    *,
    image_size: int,
    color_mode: ColorMode,
    limits: ArchiveLimits,
    processes: int | None = None,
    stall_seconds: float = STALL_SECONDS,
    on_progress: OnProgress = ignore_progress,
) -> str:
    """Write ``pack`` for another size or colour mode of a dataset that was ingested, and return its SHA-256.

    Everything follows from the archive's bytes alone, so images, labels, splits and order are those of `ingest`.

    Args:
        archive: The dataset's archive.
        output: An existing folder.
        image_size: Side of the pack's images in pixels.
        color_mode: Form of the pack's images.
        limits: As `ingest` had them.
        processes: As for `ingest`.
        stall_seconds: As for `ingest`.
        on_progress: As for `ingest`.

    Raises:
        DatasetRejectedError: As `ingest`, or the pack would be larger than the limit on an archive's bytes.
        OSError: The folder cannot be written to.
    """
    with _decoded(
        archive,
        output,
        limits=limits,
        image_size=image_size,
        color_mode=color_mode,
        processes=processes,
        stall_seconds=stall_seconds,
        on_progress=on_progress,
    ) as findings:
        check_images(findings)
        splits = make_splits(findings)
        digest = _write_pack(
            findings,
            splits,
            output / "pack",
            image_size=image_size,
            color_mode=color_mode,
            on_progress=on_progress,
        )
        on_progress(1.0)
        return digest


@contextmanager
def _decoded(
    archive: Path,
    output: Path,
    *,
    limits: ArchiveLimits,
    image_size: int,
    color_mode: ColorMode | None,
    processes: int | None,
    stall_seconds: float,
    on_progress: OnProgress,
) -> Iterator[Findings]:
    """Decode all images of an archive; the file of their pixels lives as long as the context."""
    spool = output / "pixels"
    with open_archive(archive, limits=limits, scratch=output, beat=lambda: on_progress(0.0)) as opened:
        layout = arrange(opened.members, limits=limits)
        _check_room(layout, image_size, limits)
        wanted = layout.splits != NO_SPLIT
        job = Job(
            archive=opened,
            wanted=wanted,
            previewed=choose_previews(layout) if color_mode is None else np.zeros_like(wanted),
            spool=spool,
            image_size=image_size,
            color_mode=color_mode,
            max_pixels=limits.pixels,
            preview_side=preview_side(layout),
        )
        findings = Findings(layout, job)
        spool.touch()
        try:
            findings.collect(
                processes=processes or count_cores(),
                stall_seconds=stall_seconds,
                on_progress=lambda share: on_progress(_DECODING_SHARE * share),
            )
            yield findings
        finally:
            spool.unlink(missing_ok=True)


def _check_room(layout: Layout, image_size: int, limits: ArchiveLimits) -> None:
    """Refuse what would take more room than an archive may unpack to; that bounds the disk."""
    size = int(np.count_nonzero(layout.splits != NO_SPLIT)) * image_size**2 * 3
    if size > limits.total_bytes:
        faults = FaultList()
        faults.add("", f"at {image_size} × {image_size} pixels the images take {size:,} bytes: too many")
        faults.raise_any()


def count_cores() -> int:
    """Return how many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _make_manifest(findings: Findings, splits: npt.NDArray[np.int8], entries: EntryCounts) -> Manifest:
    accepted = findings.accepted
    modes = np.bincount(findings.modes[accepted], minlength=len(findings.mode_names)).tolist()
    sizes = findings.sizes[accepted]
    areas = sizes[:, 0].astype(np.int64) * sizes[:, 1]
    smallest, largest = (sizes[place].tolist() for place in (areas.argmin(), areas.argmax()))
    return Manifest(
        classes=findings.layout.classes,
        counts={split: count_images(findings, splits, number) for number, split in enumerate(SPLITS)},
        images=ImageSummary(
            total=entries.accepted,
            modes=dict(sorted(zip(findings.mode_names, modes, strict=True))),
            min_size=(smallest[0], smallest[1]),
            max_size=(largest[0], largest[1]),
        ),
        color_mode=findings.color_mode,
        warnings=find_warnings(findings, splits),
        entries=entries,
    )


def _write_pack(
    findings: Findings,
    splits: npt.NDArray[np.int8],
    path: Path,
    *,
    image_size: int,
    color_mode: ColorMode,
    on_progress: OnProgress,
) -> str:
    labels = findings.layout.labels[findings.accepted]

    def iterate_blocks() -> Iterator[npt.NDArray[np.uint8]]:
        done = 0
        for block in findings.iterate_pixels(color_mode):
            yield block
            done += len(block)
            on_progress(_DECODING_SHARE + (1 - _DECODING_SHARE) * done / len(labels))

    return write_pack(
        path,
        iterate_blocks(),
        image_size=image_size,
        color_mode=color_mode,
        labels=labels,
        splits=splits[findings.accepted].astype(np.uint8),
        paths=findings.iterate_paths(),
        classes=findings.layout.classes,
    )


def _collect_previews(findings: Findings) -> list[list[Preview]]:
    rows: dict[int, list[Preview]] = defaultdict(list)
    for position in sorted(findings.previews):
        rows[int(findings.layout.labels[position])].append(findings.previews[position])
    return [rows[label] for label in range(len(findings.layout.classes))]
