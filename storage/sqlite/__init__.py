"""The adapters for SQLite: one file for engine state, one for the call log."""
