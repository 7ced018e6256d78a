"""Partitions and their segments; publishers; ids chosen by clients."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from raysume.storage.tables import BIG, TEXT

revision = "calls_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The tables of the first release exist."""
    op.create_table(
        "partition",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("next_offset", BIG, nullable=False),
        sa.Column("open", BIG, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_partition")),
    )
    _create_segment()
    op.create_table(
        "clock",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("pos", BIG, nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clock")),
    )
    op.create_table(
        "publisher",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("next_sequence", BIG, nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publisher")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "client_call",
        sa.Column("id_hash", sa.LargeBinary(), nullable=False),
        sa.Column("partition", BIG, nullable=False),
        sa.Column("offset", BIG, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id_hash", name=op.f("pk_client_call")),
        sqlite_with_rowid=False,
    )


def _create_segment() -> None:
    op.create_table(
        "segment",
        sa.Column("pos", BIG, autoincrement=False, nullable=False),
        sa.Column("partition", BIG, nullable=False),
        sa.Column("first", BIG, nullable=False),
        sa.Column("count", BIG, nullable=False),
        sa.Column("generation", BIG, nullable=False),
        sa.Column("accepted_at", BIG, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("pos", name=op.f("pk_segment")),
    )
    op.create_index(
        op.f("ix_segment_partition_first"), "segment", ["partition", "first"], unique=True
    )
    op.create_index(op.f("ix_segment_accepted_at"), "segment", ["accepted_at"])
    op.create_table(
        "segment_method",
        sa.Column("method", TEXT, nullable=False),
        sa.Column("pos", BIG, autoincrement=False, nullable=False),
        sa.Column("service", TEXT, nullable=False),
        sa.Column("count", BIG, nullable=False),
        sa.PrimaryKeyConstraint("method", "pos", "service", name=op.f("pk_segment_method")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_segment_method_service_pos"), "segment_method", ["service", "pos"])
