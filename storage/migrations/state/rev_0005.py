"""Index runs: what start-up must know of instances, without reading their rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from raysume.storage.tables import BIG

revision = "state_0005"
down_revision = "state_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """There are none yet: the next start reads all rows, and checkpoints write the runs then."""
    op.create_table(
        "index_run",
        sa.Column("shard", BIG, autoincrement=False, nullable=False),
        sa.Column("page", BIG, autoincrement=False, nullable=False),
        sa.Column("nth", BIG, autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("shard", "page", "nth", name=op.f("pk_index_run")),
    )
