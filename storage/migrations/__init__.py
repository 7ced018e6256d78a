"""Alembic revisions of the databases: `state` and `calls`, each with a line of its own."""
