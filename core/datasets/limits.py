"""The bounds that an archive and its images have to keep."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:  # the decoding process starts without the settings: they take a tenth of a second to import
    from core.settings import Settings


@dataclass(frozen=True)
class ArchiveLimits:
    """Bounds of one archive; each is checked against what was counted, never only against what was declared.

    Attributes:
        entries: Most entries, folders included.
        total_bytes: Most bytes that all entries together unpack to; bounds each file of an ingest, too.
        entry_bytes: Most bytes that one entry unpacks to.
        ratio: Most unpacked bytes for each packed one, over the whole archive.
        ratio_free_bytes: Unpacked bytes up to which the ratio does not matter: a small archive harms nobody.
        directory_bytes: Most bytes of a ZIP's central directory.
        pixels: Most pixels of one image.
        classes: Most classes.
    """

    entries: int = 1_100_000
    total_bytes: int = 50 * 2**30
    entry_bytes: int = 64 * 2**20
    ratio: float = 100.0
    ratio_free_bytes: int = 16 * 2**20
    directory_bytes: int = 512 * 2**20
    pixels: int = 40_000_000
    classes: int = 1_000  # A report has a number for each pair of them.

    @classmethod
    def from_settings(cls, settings: "Settings") -> Self:
        """Return the bounds that the settings name."""
        return cls(
            entries=settings.archive_max_entries,
            total_bytes=settings.archive_max_bytes,
            entry_bytes=settings.archive_max_entry_bytes,
            ratio=settings.archive_max_ratio,
            pixels=settings.image_max_pixels,
        )
