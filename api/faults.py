"""From what pydantic found wrong to the faults that a problem lists."""

from pydantic import ValidationError

from core.errors import Fault


def list_faults(error: ValidationError) -> list[Fault]:
    """Return every fault with its RFC 6901 pointer."""
    return [
        Fault(_pointer(found["loc"]), found["msg"]) for found in error.errors(include_url=False, include_input=False)
    ]


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)
