"""Add what each worker computes with."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; workers of before, which had torch, write it with their next heartbeat."""
    op.add_column("workers", sa.Column("engines", DOCUMENT, nullable=False, server_default='["torch", "numpy"]'))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("workers", "engines")
