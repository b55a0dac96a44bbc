"""Figures as people read them: percent, times, sizes, speeds. ``None``, what is not known, stays ``None``."""

from contextlib import suppress
from datetime import datetime


def plain(value: object) -> str:
    """Return a value as one line without control characters, so that it cannot steer a terminal."""
    return "".join(char if char.isprintable() else "�" for char in str(value))


def percent(fraction: float | None, digits: int = 2) -> str | None:
    """Return a fraction 0-1 in percent."""
    return None if fraction is None else f"{100 * fraction:.{digits}f} %"


def duration(seconds: float | None) -> str | None:
    """Return seconds as people say them: ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 4 min``."""
    if seconds is None:
        return None
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(size_bytes: int | None) -> str | None:
    """Return bytes in the largest unit that gives a number of at least one."""
    if size_bytes is None:
        return None
    amount, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def speed(images_per_second: float | None) -> str | None:
    """Return images per second with their thousands marked."""
    return None if images_per_second is None else f"{images_per_second:,.0f}"


def number(value: float | None) -> str | None:
    """Return a number with four digits that count."""
    return None if value is None else f"{value:.4g}"


def moment(when: datetime | None) -> str | None:
    """Return a time on this machine's clock; one beyond the calendar's end there stays as it came."""
    if when is None:
        return None
    with suppress(OverflowError):
        when = when.astimezone()
    return when.strftime("%Y-%m-%d %H:%M:%S")
