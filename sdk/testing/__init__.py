"""Testing workflows: a shell that runs them in memory, with a virtual clock and no Ray.

Loaded on first use: the pytest plugin imports this package in every test run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysume.testing.opening import Shells
    from raysume.testing.shell import TestShell
    from raysume.testing.views import Counts, Run, WaitView

__all__ = ["Counts", "Run", "Shells", "TestShell", "WaitView"]

_MODULES = {
    "Counts": "raysume.testing.views",
    "Run": "raysume.testing.views",
    "Shells": "raysume.testing.opening",
    "TestShell": "raysume.testing.shell",
    "WaitView": "raysume.testing.views",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
