"""The adapters for PostgreSQL: engine state and call log in one database, a schema for each."""
