"""Brings the schema up to date. It loads Alembic, which takes a tenth of a worker's start and which no worker needs."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from core.db.engine import open_engine


def alembic_config(url: str) -> Config:
    """Return Alembic's configuration for the migrations that are installed beside this package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "migrations"))
    config.attributes["url"] = url
    return config


def migrate(url: str, *, revision: str = "head") -> None:
    """Bring the schema at ``url`` to ``revision``; downwards too, where it is an earlier one."""
    config = alembic_config(url)
    if revision == "base" or (revision != "head" and _is_downgrade(config, url, revision)):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


def _is_downgrade(config: Config, url: str, revision: str) -> bool:
    engine = open_engine(url)
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    engine.dispose()
    script = ScriptDirectory.from_config(config)
    return current is not None and revision in {item.revision for item in script.iterate_revisions(current, "base")}
