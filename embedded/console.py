"""What the person at the console reads: few lines, each of them worth it. The full logs are in files."""

import sys
import time


class Console:
    """Writes news to standard output unless it is to be quiet, and trouble to standard error always."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def tell(self, text: str) -> None:
        """Write what is good to know."""
        if not self._quiet:
            print(text, flush=True)  # noqa: T201 - the console is what this module is for

    def warn(self, text: str) -> None:
        """Write what went wrong, with the time of day."""
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)  # noqa: T201 - same


def banner(*, url: str, key: str, key_place: str, data: str, logs: str) -> str:
    """Return what a person needs to begin."""
    return f"""
The platform is up.

  API    {url}/api/v1
  docs   {url}/docs
  key    {key}
         ({key_place})
  data   {data}
  logs   {logs}

Ctrl-C stops everything; the data stays."""
