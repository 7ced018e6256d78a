"""Ids chosen by clients by their time, so that old ones are found and deleted."""

from __future__ import annotations

from alembic import op

revision = "calls_0002"
down_revision = "calls_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The ids have an index by time; it only ever grows at its end."""
    op.create_index(op.f("ix_client_call_at"), "client_call", ["at"])
