"""Every behaviour is shown twice: live, and saved and reloaded after every step.

What holds for all of them is checked here and nowhere else: no error is logged that the test
does not name (`@pytest.mark.logs_errors`), and reloading makes no statement run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.workflows.running_once import Executed, compared
from tests.conformance.workflows.seen import logged_errors, unexpected

from raysume.testing import TestShell
from raysume.workflows import Workflow

Deploy = Callable[..., TestShell]


@pytest.fixture(scope="session")
def executions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the two runs of a test find each other, also in other processes."""
    folder = tmp_path_factory.getbasetemp()
    if folder.name.startswith("popen-"):  # pytest-xdist: one folder for each process
        folder = folder.parent
    folder = folder / "executions"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(params=[False, True], ids=["live", "reloaded"])
def deploy(request: pytest.FixtureRequest, executions: Path) -> Iterator[Deploy]:
    """Makes the shell of a test: `async with deploy(workflow) as shell`."""
    shells: list[TestShell] = []

    def make(*workflows: Workflow[Any, Any], **options: Any) -> TestShell:
        shells.append(TestShell(*workflows, reload=request.param, **options))
        return shells[-1]

    with Executed(without=request.function.__name__) as executed:
        yield make
    logged = [error for shell in shells for error in logged_errors(shell)]
    named = [text for mark in request.node.iter_markers("logs_errors") for text in mark.args]
    surprises = unexpected(logged, named)
    again = {name for mark in request.node.iter_markers("runs_again") for name in mark.args}
    name = f"{request.path.stem}-{request.node.name}"
    mode = "reloaded" if request.param else "live"
    surprises += compared(executions, name.replace(mode, ""), mode, executed.lines, again)
    if surprises:
        pytest.fail("\n".join(surprises), pytrace=False)
