"""Tags of instances, to list by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from raysume.storage.tables import BIG, TEXT

revision = "state_0002"
down_revision = "state_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tags have a table; instances that were saved before have theirs at their next checkpoint."""
    op.create_table(
        "instance_tag",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("instance", BIG, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("name", "value", "instance", name=op.f("pk_instance_tag")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_instance_tag_instance"), "instance_tag", ["instance"])
