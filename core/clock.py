"""The process clock: the seam that tests freeze. Leases are measured by the database's clock, never by this."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the present time in UTC, aware."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """Return ``moment`` as RFC 3339 in UTC with milliseconds, such as ``2026-11-21T05:14:00.123Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
