"""What a test sees of several instances at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from raysume.actors.kernel.index import WaitIndex
from raysume.testing import TestShell
from raysume.testing.views import Run


def statuses(*runs: Run[Any]) -> Counter[str]:
    """How many waits of the instances have each status."""
    return Counter(view.status for run in runs for view in run.waits)


def logged_errors(shell: TestShell) -> list[str]:
    """What was logged as an error in the shell: about instances, and why workflows are refused."""
    return [*shell.refused, *(error for run in shell.instances() for error in run.errors)]


def unexpected(logged: Sequence[str], named: Sequence[str]) -> list[str]:
    """Errors that contain none of the named texts, and texts that no error contains."""
    surprises = [error for error in logged if not any(text in error for text in named)]
    missing = [text for text in named if not any(text in error for error in logged)]
    return [*surprises, *(f"no error was logged with {text!r}" for text in missing)]


def index_of(shell: TestShell) -> WaitIndex:
    """The index of the shell's only workflow, as of now."""
    [pool] = shell._pools.values()  # pyright: ignore[reportPrivateUsage]
    return pool.kernel.index
