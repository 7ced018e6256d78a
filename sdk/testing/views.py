"""What a test sees of a shell: live views of instances, their waits, and the counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from raysume.testing.pools import ShellPool

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened in a shell so far."""

    calls: int
    """Calls pushed, by the test and by workflows."""
    waits: int
    """Waits created in instances: members, groups, subflows and sleeps included; the standing
    first wait is not."""
    completed: int
    """Instances that returned."""


@dataclass(frozen=True, slots=True)
class WaitView:
    """One wait, group, sleep, step or subflow that an instance came to."""

    id: str
    kind: str
    name: str | None
    method: str | None
    """The URN, for waits for a call."""
    status: str
    """waiting, completed, cancelled, timed-out or failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnView:
    """One turn of an instance, as its history has it."""

    turn: int
    at: datetime
    status: str
    """What the instance was after it."""
    cause: str
    """started, call, timeout, timer, step, step failed, workflow, cancel, retry, rewind or fork."""
    name: str | None
    """Of the method, wait, step or workflow that it was for, or the reason that was given."""
    id: str | None
    """Of the call, wait, timer, step or other instance that it was for."""
    locals: Mapping[str, Any]
    """The live variables after it; empty once the instance has ended."""


class Run(Generic[R]):
    """A live view of one instance: every attribute is as of now.

    An instance that ended over `history_retention` ago is removed: then they raise `NotFound`.
    """

    def __init__(self, pool: ShellPool, id: str) -> None:
        self._pool = pool
        self.id = id

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return self._pool.workflow.name

    @property
    def version(self) -> str:
        """The workflow's version."""
        return self._pool.version

    @property
    def status(self) -> str:
        """running, waiting, completed, failed or cancelled."""
        return self._pool.instance(self.id).status.value

    @property
    def result(self) -> R | None:
        """The returned value; None while there is none."""
        self._pool.instance(self.id)
        return self._pool.results.get(self.id)

    @property
    def error(self) -> str | None:
        """Why it failed, as "Type: message"; None when it did not."""
        error = self._pool.instance(self.id).error
        return None if error is None else f"{error.type}: {error.message}"

    @property
    def failures(self) -> int:
        """How often it failed since it last went on."""
        return self._pool.instance(self.id).failures

    @property
    def retry_at(self) -> datetime | None:
        """When its workflow's own policy retries it, by the shell's clock; None: it does not."""
        return self._pool.retry_at(self.id)

    @property
    def traceback(self) -> str | None:
        """Where it failed, as text; None when it did not."""
        error = self._pool.instance(self.id).error
        return None if error is None else error.traceback

    @property
    def errors(self) -> list[str]:
        """Everything logged as an error about the instance, oldest first."""
        self._pool.instance(self.id)
        return [
            f"{line.event}: {line.facts.get('error', '')}"
            for line in self._pool.logs
            if line.instance == self.id and line.level == "error"
        ]

    @property
    def tags(self) -> dict[str, str]:
        """What `instance().tag(...)` set."""
        return dict(self._pool.instance(self.id).tags)

    @property
    def started_at(self) -> datetime:
        """When it started, by the shell's clock."""
        return self._pool.started_at(self.id)

    @property
    def waits(self) -> list[WaitView]:
        """Every wait it ever came to, in order of registration, with its status now."""
        self._pool.instance(self.id)
        return list(self._pool.waits.get(self.id, {}).values())

    @property
    def history(self) -> list[TurnView]:
        """Every turn that it took, oldest first, with the variables after it."""
        return self._pool.turns_of(self.id)

    @property
    def locals(self) -> dict[str, Any]:
        """The live variables of its frames; those of inner frames win."""
        return self._pool.locals_of(self.id)

    @property
    def container(self) -> Any:
        """The object of the workflow's class, with its fields as saved last; None without one."""
        return self._pool.container_of(self.id)

    def __repr__(self) -> str:
        return f"<Run {self.workflow} {self.id} {self.status}>"
