"""History: journal rows know their time, and turns can outlive their journal row."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from raysume.storage.tables import BIG

revision = "state_0003"
down_revision = "state_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Journal rows from before count as old: their turns go into the history first."""
    op.add_column("journal", sa.Column("at", BIG, nullable=False, server_default="0"))
    op.create_table(
        "history",
        sa.Column("instance", BIG, autoincrement=False, nullable=False),
        sa.Column("seq", BIG, autoincrement=False, nullable=False),
        sa.Column("nth", BIG, autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("instance", "seq", "nth", name=op.f("pk_history")),
    )
