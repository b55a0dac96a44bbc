"""How paths are matched: exactly, and with ids that could be ids."""

from flask import Flask, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter


class IdConverter(BaseConverter):
    """One segment of a path that could be an id; anything else is no route."""

    regex = r"[A-Za-z0-9_-]{1,40}"


class NameConverter(BaseConverter):
    """One segment of a path that could be a file's name."""

    regex = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}"


def install(app: Flask) -> None:
    """Set it up; to be called before routes are registered."""
    app.url_map.converters |= {"id": IdConverter, "name": NameConverter}
    app.url_map.strict_slashes = True
    # A redirect from //jobs to /jobs would be a second way of writing each path.
    app.url_map.merge_slashes = False


def install_checks(app: Flask) -> None:
    """Refuse the one other way of writing a path that is left; to be called where a request has its id."""
    app.before_request(_refuse_doubled_slash)


def _refuse_doubled_slash() -> None:
    """Werkzeug takes any number of slashes at the beginning for one. Raises `NotFound`."""
    if request.environ.get("PATH_INFO", "").startswith("//"):
        raise NotFound
