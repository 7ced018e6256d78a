"""What a test asks for one instance: that it is cancelled, retried, rewound or forked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from raysume import ids
from raysume.actors.kernel.commits import (
    CancelAsked,
    Command,
    ForkAsked,
    RetryAsked,
    RewindAsked,
)
from raysume.actors.kernel.moments import microseconds
from raysume.testing.pools import ShellPool
from raysume.testing.views import Run

R = TypeVar("R")


class InstanceCommands(ABC):
    """The part of a `TestShell` that changes instances by command."""

    @property
    @abstractmethod
    def now(self) -> datetime:
        """The shell's clock."""

    @abstractmethod
    async def _ask(self, pool: ShellPool, command: Command) -> None:
        """The command is done, and what it set going with it; raises what refused it."""

    async def cancel(self, run: Run[Any], reason: str = "") -> None:
        """The instance is cancelled: its `finally` blocks have run, or wait in turn.

        The compensations of its completed steps have run too; a finished instance stays as it is.
        """
        await self._ask(pool_of(run), CancelAsked(instance=run.id, reason=reason))

    async def retry(self, run: Run[Any], reason: str = "") -> None:
        """The failed instance has gone on from its last saved point, with the same call again.

        Raises:
            NotRetriable: it has not failed, or its steps were undone.
        """
        await self._ask(pool_of(run), RetryAsked(instance=run.id, reason=reason))

    async def rewind(
        self,
        run: Run[Any],
        *,
        to: str | int,
        set: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> None:
        """The instance stands again where it stood before, whatever it was or had become.

        What waited there waits anew, with its time limit from now on, and for a call that the
        instance has not received. No code runs for it: no `finally`, no `when_cancelled`.

        Args:
            to: a wait's name, the URN of its method, a step's or workflow's name, `function:line`
                or `file:line`; the newest such point counts. Or the number of a turn.
            set: variables to change there, by name. What a wait was made from, as in
                `.match(id=id)`, was evaluated before: go back further to have it made anew. A
                `match_if` sees the new values.
            reason: goes into the instance's history.

        Raises:
            NotFound: it never stood there.
            NotRewindable: a step that had completed at that point was undone since.
            UsageError: a variable of `set` is not live there, or its value does not fit.
        """
        pool = pool_of(run)
        record = pool.point(run.id, to, anew=True)
        await self._ask(
            pool, RewindAsked(instance=run.id, record=record, variables=set or {}, reason=reason)
        )

    async def fork(
        self,
        run: Run[R],
        *,
        at: str | int | None = None,
        set: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> Run[R]:
        """A new instance stands where this one stood, with its variables of then.

        It takes calls that are pushed from now on, and undoes no step that it did not run.

        Args:
            at: as `rewind` takes it; None: the newest saved point.
            set: variables to change there, by name.
            id: of the new instance; made when it is left out.

        Raises:
            NotFound, NotRewindable, UsageError: as `rewind` does.
        """
        pool = pool_of(run)
        record = pool.point(run.id, at, anew=False)
        made = id or ids.uuid7()
        asked = ForkAsked(
            instance=run.id,
            record=record,
            id=made,
            at_us=microseconds(self.now),
            variables=set or {},
        )
        await self._ask(pool, asked)
        return Run(pool, made)


def pool_of(run: Run[Any]) -> ShellPool:
    """The pool of the instance."""
    return run._pool  # pyright: ignore[reportPrivateUsage]
