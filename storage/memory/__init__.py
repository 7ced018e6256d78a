"""The adapters that keep everything in memory: for tests, and for whoever needs no durability."""
