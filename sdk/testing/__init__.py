"""Testing workflows: a shell that runs them in memory, with a virtual clock and no Ray."""

from __future__ import annotations

from raysume.testing.shell import TestShell
from raysume.testing.views import Counts, Run, WaitView

__all__ = ["Counts", "Run", "TestShell", "WaitView"]
