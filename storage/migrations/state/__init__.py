"""Revisions of the engine state."""
