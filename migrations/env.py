"""Alembic's entry: runs the migrations on the URL that `core.db.migrations` hands over."""

from alembic import context

from core.db.engine import open_engine
from core.db.rows import Row

engine = open_engine(context.config.attributes["url"])
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Row.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
