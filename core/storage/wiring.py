"""Opens the store that the settings name."""

import re
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from core.errors import InvalidError
from core.settings import Settings
from core.storage.folder import FolderStore
from core.storage.store import ObjectStore

_BUCKET = re.compile(r"(?!.*[.-]{2})[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ENDPOINT = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?")
_TRUTH = {"true": True, "false": False}
_EXPECTED = "`file:///folder` or `s3://bucket?endpoint=host:port&secure=true&region=us-east-1`"


def open_store(settings: Settings) -> ObjectStore:
    """Return the store of ``settings.store``. Nothing is asked of it yet: `ObjectStore.check` does that.

    Raises:
        InvalidError: The URL cannot be understood, or S3 lacks its keys. The message says what is expected and
            repeats nothing of the URL, which may hold a secret.
    """
    try:
        url = urlsplit(settings.store)
    except ValueError:
        raise _refusal("It is no URL.") from None
    if url.scheme == "file":
        return FolderStore(_folder(url))
    if url.scheme == "s3":
        return _s3(url, settings)
    raise _refusal("Its scheme is neither of the two.")


def _folder(url: SplitResult) -> Path:
    if url.netloc not in {"", "localhost"} or url.query or url.fragment:
        raise _refusal("A folder's URL has three slashes and an absolute path, and nothing else.")
    path = Path(unquote(url.path))
    if not path.is_absolute() or path == Path("/"):
        raise _refusal("A folder's path is absolute.")
    return path


def _s3(url: SplitResult, settings: Settings) -> ObjectStore:
    from core.storage.s3 import S3Store  # noqa: PLC0415 - its client takes a fifth of a second to import

    if "@" in url.netloc:
        raise _refusal("Keys belong in LENET_STORE_ACCESS_KEY and LENET_STORE_SECRET_KEY.")
    if not _BUCKET.fullmatch(url.netloc) or url.path not in {"", "/"} or url.fragment:
        raise _refusal("After `s3://` stands the name of a bucket alone.")
    if settings.store_access_key is None or settings.store_secret_key is None:
        raise _refusal("An S3 store needs LENET_STORE_ACCESS_KEY and LENET_STORE_SECRET_KEY.")
    options = _options(url.query)
    if not _ENDPOINT.fullmatch(options.get("endpoint", "")) or options.get("secure", "true") not in _TRUTH:
        raise _refusal("`endpoint` is host:port, `secure` is true or false.")
    try:
        return S3Store(
            url.netloc,
            endpoint=options["endpoint"],
            access_key=settings.store_access_key.get_secret_value(),
            secret_key=settings.store_secret_key.get_secret_value(),
            region=options.get("region", "us-east-1"),
            secure=_TRUTH[options.get("secure", "true")],
        )
    except ValueError:
        raise _refusal("Its endpoint is no address.") from None


def _options(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise _refusal("Its query cannot be read.") from None
    options = dict(pairs)
    if len(options) != len(pairs) or not options.keys() <= {"endpoint", "secure", "region"}:
        raise _refusal("Its query holds endpoint, secure and region, each once at most, and nothing else.")
    return options


def _refusal(reason: str) -> InvalidError:
    return InvalidError(f"LENET_STORE_URL is not {_EXPECTED}. {reason}", code="invalid_store_url")
