"""What all SQL databases have in common: the statements, and the adapters but for their locks."""
