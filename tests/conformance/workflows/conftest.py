"""Every behaviour is shown twice: live, and saved and reloaded after every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raysume.testing import TestShell
from raysume.workflows import Workflow

Deploy = Callable[..., TestShell]


@pytest.fixture(params=[False, True], ids=["live", "reloaded"])
def deploy(request: pytest.FixtureRequest) -> Deploy:
    """Makes the shell of a test: `async with deploy(workflow) as shell`."""

    def make(*workflows: Workflow[Any, Any], **options: Any) -> TestShell:
        return TestShell(*workflows, reload=request.param, **options)

    return make
