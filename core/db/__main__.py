"""``python -m core.db``: brings the schema of LENET_DATABASE_URL up to date, or to a revision that is named."""

import argparse
from collections.abc import Sequence

from core.db.migrations import migrate
from core.settings import Settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Migrate the database of the settings by the command line."""
    parser = argparse.ArgumentParser(prog="python -m core.db", description="Bring the database's schema up to date.")
    parser.add_argument("--to", default="head", metavar="REVISION", help="revision to go to (head; base drops all)")
    options = parser.parse_args(arguments)
    settings = Settings()
    if settings.database_url is None:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    migrate(settings.database, revision=options.to)


if __name__ == "__main__":
    main()
