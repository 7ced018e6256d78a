"""Order across partitions, and leases: several replicas accept calls at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from raysume.storage.tables import BIG

revision = "calls_0003"
down_revision = "calls_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Every partition knows its last segment and its lease, which is over for those there are."""
    op.add_column("partition", sa.Column("last_pos", BIG, nullable=False, server_default="0"))
    op.add_column("partition", sa.Column("lease", BIG, nullable=False, server_default="0"))
    op.add_column("segment", sa.Column("after", sa.LargeBinary(), nullable=True))
    op.execute(
        "UPDATE partition SET last_pos = coalesce("
        "(SELECT max(pos) FROM segment WHERE segment.partition = partition.id), 1) "
        "WHERE next_offset > 0"
    )
