"""Decisions: what several kernels of one workflow agreed about a call."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from raysume.storage.tables import BIG

revision = "state_0004"
down_revision = "state_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing was decided so far."""
    op.create_table(
        "decision",
        sa.Column("workflow", sa.String(), nullable=False),
        sa.Column("pos", BIG, autoincrement=False, nullable=False),
        sa.Column("offset", BIG, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workflow", "pos", "offset", "kind", name=op.f("pk_decision")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_decision_pos"), "decision", ["pos"])
