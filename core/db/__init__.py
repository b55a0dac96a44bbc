"""SQLAlchemy rows, engine and session; no rules."""
