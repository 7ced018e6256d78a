"""Revisions of the call log."""
