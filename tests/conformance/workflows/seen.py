"""What a test sees of several instances at once."""

from __future__ import annotations

from collections import Counter
from typing import Any

from raysume.testing import TestShell
from raysume.testing.views import Run


def statuses(*runs: Run[Any]) -> Counter[str]:
    """How many waits of the instances have each status."""
    return Counter(view.status for run in runs for view in run.waits)


def logged_errors(shell: TestShell) -> list[str]:
    """What was logged as an error about any instance of the shell."""
    return [error for run in shell.instances() for error in run.errors]
