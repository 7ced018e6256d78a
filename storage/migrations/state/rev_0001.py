"""Shards, their journal, checkpoints and instances; documents."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from raysume.storage.tables import BIG, TEXT

revision = "state_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The tables of the first release exist."""
    op.create_table(
        "shard",
        sa.Column("key", BIG, autoincrement=False, nullable=False),
        sa.Column("workflow", TEXT, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("number", BIG, nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_shard")),
    )
    op.create_index(
        op.f("ix_shard_workflow_version_number"),
        "shard",
        ["workflow", "version", "number"],
        unique=True,
    )
    op.create_table(
        "journal",
        sa.Column("shard", BIG, autoincrement=False, nullable=False),
        sa.Column("seq", BIG, autoincrement=False, nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("shard", "seq", name=op.f("pk_journal")),
    )
    op.create_table(
        "checkpoint",
        sa.Column("shard", BIG, autoincrement=False, nullable=False),
        sa.Column("seq", BIG, nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_checkpoint")),
    )
    op.create_table(
        "document",
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", name=op.f("pk_document")),
    )
    _create_instance()


def _create_instance() -> None:
    op.create_table(
        "instance",
        sa.Column("key", BIG, autoincrement=False, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("workflow", TEXT, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("started_at", BIG, nullable=False),
        sa.Column("updated_at", BIG, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_instance")),
    )
    op.create_index(
        op.f("ix_instance_id_workflow_version"),
        "instance",
        ["id", "workflow", "version"],
        unique=True,
    )
    op.create_index(
        op.f("ix_instance_workflow_started_at_id"), "instance", ["workflow", "started_at", "id"]
    )
    op.create_index(op.f("ix_instance_started_at_id"), "instance", ["started_at", "id"])
