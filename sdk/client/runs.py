"""Instances and listings as `Client` gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from raysume.client import operations, questions
from raysume.client.operations import InstanceFacts, Page, Target
from raysume.client.questions import InstanceState, Reader, TurnFacts
from raysume.client.retries import Patience
from raysume.ids import uuid7
from raysume.limits import HISTORY_TURNS_MAX

if TYPE_CHECKING:
    from raysume.client.client import Client

T = TypeVar("T")
R = TypeVar("R")


class Run(Generic[R]):
    """One instance of a workflow, as a client sees it."""

    def __init__(self, client: Client, facts: InstanceFacts, read: Reader) -> None:
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

    def result(self, timeout: float | timedelta | None = 30) -> R:
        """What the workflow returned, of its declared type when the workflow is known here.

        Args:
            timeout: seconds; None waits for ever.

        Raises:
            InstanceFailed: the instance is failed or cancelled.
            ResultTimeout: it is not finished yet; it goes on, ask again.
        """
        patience = Patience(limit_s=questions.seconds(timeout))
        value: R = self._read(self._client.run(operations.result(self.target, patience)))
        return value

    def describe(self) -> InstanceFacts:
        """What the engine knows of it now: status, waits, error, tags."""
        return self._client.run(operations.describe(self.target, self._client.patience))

    def status(self) -> str:
        """`running`, `waiting`, `completed`, `failed` or `cancelled`, now."""
        return self.describe().status

    def state(self) -> InstanceState:
        """Where it stands: frames with file, line, wait and local variables."""
        document = self._client.run(operations.state(self.target, self._client.patience))
        return questions.read_state(document)

    def cancel(self, reason: str = "") -> InstanceFacts:
        """It is cancelled, or unwinds: `finally` blocks and compensations run. A finished one stays."""
        return self._command("cancel", reason)

    def retry(self, reason: str = "") -> InstanceFacts:
        """The failed instance goes on from its last saved point, with the same call again.

        Raises:
            UsageError: it has not failed, or its steps were undone.
        """
        return self._command("retry", reason)

    def rewind(
        self, to: str | int, *, set: Mapping[str, Any] | None = None, reason: str = ""
    ) -> InstanceFacts:
        """It stands again where it stood before, whatever it was or had become, durably.

        What waited there waits anew, with its time limit from now on, and for a call that the
        instance has not received. No code runs for it: no `finally`, no `when_cancelled`.

        Args:
            to: a wait's name, the URN of its method, a step's or workflow's name, `function:line`
                or `file:line`; the newest such point counts. Or the number of a turn.
            set: variables to change there, by name; converted to the type of the value there.
                What a wait was made from, as in `.match(id=id)`, was evaluated before: go back
                further to have it made anew. A `match_if` sees the new values.
            reason: goes into the instance's history.

        Raises:
            NotFound: it never stood there.
            UsageError: a step that had completed there was undone since, or a variable of `set`
                is not live there or does not fit.
        """
        variables = questions.plan_variables(set)
        asked = operations.rewind(self.target, to, variables, reason, self._client.patience)
        return self._client.run(asked)

    def fork(
        self,
        at: str | int | None = None,
        *,
        set: Mapping[str, Any] | None = None,
        id: str | None = None,
        reason: str = "",
    ) -> Run[R]:
        """A new instance stands where this one stood, with its variables of then, durably.

        It takes calls that are accepted from now on, and undoes no step that it did not run.

        Args:
            at: as `rewind` takes it; None: the newest saved point.
            set: variables to change there, by name; converted to the type of the value there.
            id: of the new instance; made when it is left out.

        Raises:
            NotFound: it never stood there.
            UsageError: the id is taken, or a variable of `set` is not live there or does not fit.
        """
        variables = questions.plan_variables(set)
        asked = operations.fork(
            self.target, at, variables, id or uuid7(), reason, self._client.patience
        )
        return Run(self._client, self._client.run(asked), self._read)

    def history(self, *, after: str | None = None) -> Listing[TurnFacts]:
        """Every turn that it took, newest first: what it was for, and where it stood afterwards.

        Args:
            after: the `cursor` of a listing, to go on behind it.
        """
        return self._client.listing(
            self.target.path("/history"),
            questions.read_turn,
            after,
            limit=HISTORY_TURNS_MAX,
            **self.target.query,
        )

    def _command(self, kind: str, reason: str) -> InstanceFacts:
        asked = operations.command(self.target, kind, reason, self._client.patience)
        return self._client.run(asked)

    @property
    def target(self) -> Target:
        """Which instance it is."""
        return Target(id=self.id, workflow=self.workflow or None)

    def __repr__(self) -> str:
        return f"<Run {self.id!r} of {self.workflow}@{self.version}>"


class Listing(Iterator[T]):
    """All rows of a listing; pages are fetched as they are needed."""

    def __init__(self, pages: Callable[[str | None], Page], read: Callable[..., T | None]) -> None:
        self._pages, self._read = pages, read
        self._items: list[dict[str, Any]] = []
        self._more = True
        self.cursor: str | None = None
        """Give it as `after=` to go on behind the pages fetched so far; None at the end."""

    def __next__(self) -> T:
        while True:
            while self._items:
                row = self._read(self._items.pop())
                if row is not None:
                    return row
            if not self._more:
                raise StopIteration
            page = self._pages(self.cursor)
            self._items = page.items[::-1]
            self.cursor = page.next
            self._more = page.next is not None
