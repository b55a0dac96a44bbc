from core.datasets.limits import ArchiveLimits
from core.settings import Settings


def test_limits_follow_the_settings():
    settings = Settings(
        archive_max_entries=1,
        archive_max_bytes=2,
        archive_max_entry_bytes=3,
        archive_max_ratio=4.0,
        image_max_pixels=5,
    )
    limits = ArchiveLimits.from_settings(settings)
    assert (limits.entries, limits.total_bytes, limits.entry_bytes, limits.ratio, limits.pixels) == (1, 2, 3, 4.0, 5)


def test_defaults_are_those_of_the_settings():
    assert ArchiveLimits.from_settings(Settings()) == ArchiveLimits()
