"""Counts how often each statement of a workflow ran, however often its instance was reloaded."""

from __future__ import annotations

from collections import Counter


class Marks(Counter[str]):
    """`ran("after one")` in a workflow; the test compares the counts with what must have run."""

    def __call__(self, statement: str) -> None:
        self[statement] += 1
