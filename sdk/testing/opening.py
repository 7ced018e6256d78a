"""The fixture `shell`: makes shells for a test, which end with it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from raysume.testing.shell import TestShell
from raysume.workflows import Workflow


class Opening(AbstractAsyncContextManager[TestShell]):
    """A shell that is not open yet: `async with` opens it for a block, `await` for the test."""

    def __init__(self, shell: TestShell) -> None:
        self._shell = shell

    def __await__(self) -> Generator[Any, None, TestShell]:
        return self._shell.__aenter__().__await__()

    async def __aenter__(self) -> TestShell:
        return await self._shell.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._shell.__aexit__(kind, error, traceback)


class Shells:
    """What the fixture `shell` is.

    ```python
    async def test_escalates(shell: Shells) -> None:
        app = await shell(approval)                  # until the end of the test
        async with shell(fulfil, reload=False) as other: ...
    ```
    """

    def __call__(
        self,
        *workflows: Workflow[Any, Any],
        reload: bool = True,
        overrides: dict[Any, Any] | None = None,
    ) -> Opening:
        """A shell with these workflows, to be opened by `await` or `async with`.

        Args:
            reload: save and reload all state after every step of the test.
            overrides: factories of dependencies, with what is given instead.
        """
        return Opening(TestShell(*workflows, reload=reload, overrides=overrides))
