"""Instances and listings as `AsyncClient` gives them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from raysume.client import operations, questions
from raysume.client.operations import InstanceFacts, Page, Target
from raysume.client.questions import InstanceState, Reader, TurnFacts
from raysume.client.retries import Patience
from raysume.ids import uuid7
from raysume.limits import HISTORY_TURNS_MAX

if TYPE_CHECKING:
    from raysume.client.async_client import AsyncClient

T = TypeVar("T")
R = TypeVar("R")


class AsyncRun(Generic[R]):
    """One instance of a workflow, as a client sees it."""

    def __init__(self, client: AsyncClient, facts: InstanceFacts, read: Reader) -> None:
        self._client, self._facts, self._read = client, facts, read

    @property
    def id(self) -> str:
        """The instance's id."""
        return self._facts.id

    @property
    def workflow(self) -> str:
        """The name of its workflow."""
        return self._facts.workflow

    @property
    def version(self) -> str:
        """The version of the workflow that runs it."""
        return self._facts.version

    @property
    def facts(self) -> InstanceFacts:
        """What the engine said of it when this object was made."""
        return self._facts

    async def result(self, timeout: float | timedelta | None = 30) -> R:
        """What the workflow returned; see `Run.result`."""
        patience = Patience(limit_s=questions.seconds(timeout))
        value: R = self._read(await self._client.run(operations.result(self.target, patience)))
        return value

    async def describe(self) -> InstanceFacts:
        """What the engine knows of it now: status, waits, error, tags."""
        return await self._client.run(operations.describe(self.target, self._client.patience))

    async def status(self) -> str:
        """`running`, `waiting`, `completed`, `failed` or `cancelled`, now."""
        return (await self.describe()).status

    async def state(self) -> InstanceState:
        """Where it stands: frames with file, line, wait and local variables."""
        document = await self._client.run(operations.state(self.target, self._client.patience))
        return questions.read_state(document)

    async def cancel(self, reason: str = "") -> InstanceFacts:
        """It is cancelled, or unwinds: `finally` blocks and compensations run. A finished one stays."""
        return await self._command("cancel", reason)

    async def retry(self, reason: str = "") -> InstanceFacts:
        """The failed instance goes on from its last saved point, with the same call again.

        Raises:
            UsageError: it has not failed, or its steps were undone.
        """
        return await self._command("retry", reason)

    async def rewind(
        self, to: str | int, *, set: Mapping[str, Any] | None = None, reason: str = ""
    ) -> InstanceFacts:
        """It stands again where it stood before; see `Run.rewind`."""
        variables = questions.plan_variables(set)
        asked = operations.rewind(self.target, to, variables, reason, self._client.patience)
        return await self._client.run(asked)

    async def fork(
        self,
        at: str | int | None = None,
        *,
        set: Mapping[str, Any] | None = None,
        id: str | None = None,
        reason: str = "",
    ) -> AsyncRun[R]:
        """A new instance stands where this one stood; see `Run.fork`."""
        variables = questions.plan_variables(set)
        asked = operations.fork(
            self.target, at, variables, id or uuid7(), reason, self._client.patience
        )
        return AsyncRun(self._client, await self._client.run(asked), self._read)

    def history(self, *, after: str | None = None) -> AsyncListing[TurnFacts]:
        """Every turn that it took, newest first; see `Run.history`."""
        return self._client.listing(
            self.target.path("/history"),
            questions.read_turn,
            after,
            limit=HISTORY_TURNS_MAX,
            **self.target.query,
        )

    async def _command(self, kind: str, reason: str) -> InstanceFacts:
        asked = operations.command(self.target, kind, reason, self._client.patience)
        return await self._client.run(asked)

    @property
    def target(self) -> Target:
        """Which instance it is."""
        return Target(id=self.id, workflow=self.workflow or None)

    def __repr__(self) -> str:
        return f"<AsyncRun {self.id!r} of {self.workflow}@{self.version}>"


class AsyncListing(AsyncIterator[T]):
    """All rows of a listing; pages are fetched as they are needed."""

    def __init__(
        self, pages: Callable[[str | None], Awaitable[Page]], read: Callable[..., T | None]
    ) -> None:
        self._pages, self._read = pages, read
        self._items: list[dict[str, Any]] = []
        self._more = True
        self.cursor: str | None = None
        """Give it as `after=` to go on behind the pages fetched so far; None at the end."""

    async def __anext__(self) -> T:
        while True:
            while self._items:
                row = self._read(self._items.pop())
                if row is not None:
                    return row
            if not self._more:
                raise StopAsyncIteration
            page = await self._pages(self.cursor)
            self._items = page.items[::-1]
            self.cursor = page.next
            self._more = page.next is not None
