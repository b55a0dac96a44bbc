"""Keep each tenant's jobs of a status in the order in which they are claimed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Put the ordered index in the place of the one that it begins as."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.create_index("ix_jobs_claims", ["tenant_id", "status", sa.desc("priority"), "id"])
        jobs.drop_index("ix_jobs_tenant_status")


def downgrade() -> None:
    """Put the unordered index back."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.create_index("ix_jobs_tenant_status", ["tenant_id", "status"])
        jobs.drop_index("ix_jobs_claims")
