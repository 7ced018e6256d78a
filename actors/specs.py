"""What travels between the actors: how a deployment's processes find their data and code."""

from __future__ import annotations

from pathlib import Path

import msgspec

from raysume import limits
from raysume.actors.loading import Target
from raysume.errors import Unavailable
from raysume.storage.ports import Office, OwnedShard

NAMESPACE = "raysume"
"""The Ray namespace of the engine's actors."""

DIRECTORY_NAME = "raysume-directory"
"""The name of the directory actor."""

DIRECTORY_OFFICE = "directory"
"""The name of the office that a directory takes when it begins."""

Order = tuple[int, int]
"""The number of an order to a member: the epoch of the directory that gives it, and which of its orders."""

INGRESS_APP = "raysume"
"""The name of the Serve application."""


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Where the engine keeps its data."""

    data_dir: str
    database_url: str | None = None
    checkpoint_interval_s: float
    mailbox_window_s: float = limits.MAILBOX_WINDOW.total_seconds()
    """How far back waits look for calls that came before them."""
    history_retention_s: float = limits.HISTORY_RETENTION.total_seconds()
    """How long finished instances are kept."""
    call_retention_s: float = limits.CALL_RETENTION.total_seconds()
    """How long calls are kept."""
    memory_budget: int = limits.MEMORY_BUDGET
    """Bytes of records that a process of a pool keeps in memory."""
    pool_members: int = 1
    """Members of a new pool."""
    service: str | None = None
    """The configured service name of the deployed code; None: the top package."""

    @property
    def folder(self) -> Path:
        """The data directory."""
        return Path(self.data_dir)


class PoolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One pool: a version of a workflow, and where its code is."""

    workflow: str
    version: str
    target: Target
    methods: frozenset[str]
    """URNs whose calls the pool gets: of all methods for which the workflow may wait."""

    @property
    def name(self) -> str:
        """The name of the pool, which is that of its first member's actor."""
        return self.member(0)

    def member(self, number: int) -> str:
        """The name of a member's actor, as the Ray dashboard shows it."""
        return f"{self.workflow}@{self.version}/{number}"


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """Who a member's process is."""

    owner: str
    """Its name as an owner of shards."""
    is_started: bool
    """Whether it was given its shards."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """The shards with which a member begins."""

    owner: str
    """The process for which their epochs were raised."""
    epoch: int
    """Of the directory that gives them: the process obeys none before it."""
    owned: list[OwnedShard]


class LateOrder(Unavailable):
    """A member has had a newer order since, perhaps of a newer directory; `details` has its number,
    `newest`."""


def directory_office(epoch: int) -> Office:
    """The office of the directory, as the one with this epoch holds it."""
    return Office(name=DIRECTORY_OFFICE, epoch=epoch)
