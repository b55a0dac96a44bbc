"""How paths are matched: exactly, and with ids that could be ids."""

from flask import Flask
from werkzeug.routing import BaseConverter


class IdConverter(BaseConverter):
    """One segment of a path that could be an id; anything else is no route."""

    regex = r"[A-Za-z0-9_-]{1,40}"


class NameConverter(BaseConverter):
    """One segment of a path that could be a file's name."""

    regex = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}"


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
        "version": VersionConverter,
        "alias": AliasConverter,
        "reference": ReferenceConverter,
    }
    app.url_map.strict_slashes = True
    # A redirect from //jobs to /jobs would be a second way of writing each path.
    app.url_map.merge_slashes = False
