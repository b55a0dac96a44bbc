"""Alembic's migrations: one change each, up and down, on SQLite and PostgreSQL."""
