"""What Alembic runs: it upgrades the connection that `raysume.storage.schema` hands over."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    transactional_ddl=False,
)
context.run_migrations()
