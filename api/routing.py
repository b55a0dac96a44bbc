"""How paths are matched: exactly, and with ids that could be ids."""

from urllib.parse import urlsplit

from flask import Flask, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

from core.domain.plots import PLOTS


class IdConverter(BaseConverter):
    """One segment of a path that could be an id; anything else is no route."""

    regex = r"[A-Za-z0-9_-]{1,40}"


class NameConverter(BaseConverter):
    """One segment of a path that could be a file's name."""

    regex = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}"


class PlotConverter(BaseConverter):
    """The name of a plot."""

    regex = "|".join(PLOTS)


class VersionConverter(BaseConverter):
    """One segment of a path that could be a version's number."""

    regex = r"[1-9][0-9]{0,8}"


class AliasConverter(BaseConverter):
    """One segment of a path that could be an alias: it begins with a letter, so that it is no number."""

    regex = r"[a-z][a-z0-9_-]{0,39}"


class ReferenceConverter(BaseConverter):
    """What tells versions of a model apart: a number or an alias."""

    regex = rf"(?:{VersionConverter.regex}|{AliasConverter.regex})"


def install(app: Flask) -> None:
    """Set it up; to be called before routes are registered."""
    app.url_map.converters |= {
        "id": IdConverter,
        "name": NameConverter,
        "plot": PlotConverter,
        "version": VersionConverter,
        "alias": AliasConverter,
        "reference": ReferenceConverter,
    }
    app.url_map.strict_slashes = True
    # A redirect from //jobs to /jobs would be a second way of writing each path.
    app.url_map.merge_slashes = False
    app.before_request(_refuse_other_ways)


def _refuse_other_ways() -> None:
    """Refuse a path that only turns into a route once it is decoded, or loses a slash; raises `NotFound`.

    Whatever stands in front of us has judged the path as it was written.
    """
    written = str(request.environ.get("RAW_URI", request.path))
    path = written.partition("?")[0] if written.startswith("/") else urlsplit(written).path
    if request.url_rule is not None and path != request.path:
        raise NotFound
