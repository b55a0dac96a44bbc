"""Names that the service answers to. A page of a stranger's whose name leads to this machine is not one of them."""

import re

from flask import Flask, request

from core.errors import UnreadableError
from core.settings import Settings

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]{2,45}\]|[a-z0-9_-][a-z0-9._-]{0,252})(?::[0-9]{1,5})?")


def list_names(settings: Settings) -> frozenset[str] | None:
    """Return the names that are answered to, in lower case and without ports; ``None``: any.

    This machine's own names always are: nobody but its programs can use them. Where the service listens on the
    loopback address no other is, unless the settings name it.
    """
    if not settings.allowed_hosts and not settings.listens_on_loopback:
        return None
    address = settings.api_host
    literal = f"[{address}]" if ":" in address else address
    return frozenset(name.lower() for name in (*_LOOPBACK_NAMES, literal, *settings.allowed_hosts))


def install(app: Flask, names: frozenset[str] | None) -> None:
    """Refuse requests for other names before anything else is done."""

    def check() -> None:
        if "HTTP_HOST" not in request.environ and request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
            return  # Only programs speak it, browsers do not.
        found = _HOST.fullmatch(request.environ.get("HTTP_HOST", "").lower())
        if found is None or (names is not None and found["name"].removesuffix(".") not in names):
            raise UnreadableError("The request is for a host that this is not.", code="host_not_allowed")

    app.before_request(check)
