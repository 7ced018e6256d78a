"""Deletes calls whose retention is over and that no pool needs: the directory's periodic work.

Finished instances are not its business: each pool removes its own with its checkpoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
import structlog

from raysume import limits
from raysume.actors.kernel.journal import Sealer
from raysume.actors.needs import (
    Needs,
    applied_by_all,
    needs_of_resting,
    needs_of_successor,
)
from raysume.actors.specs import PoolSpec
from raysume.storage.call_ports import CallLog, CallQuery
from raysume.storage.moments import from_us, wall_clock_us
from raysume.storage.ports import Store
from raysume.storage.retention import Deleted

_log = structlog.get_logger("raysume.directory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A version that was deployed, whether its pool runs or not."""

    spec: PoolSpec
    is_active: bool
    """Whether it is the one that takes new instances."""


class Pools(Protocol):
    """What is asked of the pools that run (`Supervisor`)."""

    def __contains__(self, name: object) -> bool:
        """Whether the pool runs, or is being brought back."""
        ...

    async def ask_all(self, name: str, method: str, *arguments: Any) -> list[Any]:
        """What each member of the pool answers."""
        ...


class Cleaner:
    """Deletes old calls, batch by batch.

    Args:
        open_log: opens the call log, at the first time.
        seal: loads the deployment's seal, when a pool does not run.
        deployed: every version there is now.
        retention: how long a call is kept.
        confirm: raises when another directory has begun. Whatever that one deploys later needs no
            call that nobody needed before it.
    """

    def __init__(
        self,
        store: Store,
        pools: Pools,
        *,
        open_log: Callable[[], CallLog],
        seal: Callable[[], Sealer],
        deployed: Callable[[], Iterable[Deployed]],
        retention: timedelta,
        now_us: Callable[[], int] = wall_clock_us,
        confirm: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._pools = store, pools
        self._open_log, self._seal = open_log, seal
        self._call_log: CallLog | None = None
        self._deployed, self._retention, self._now_us = deployed, retention, now_us
        self._confirm = confirm
        self._resting: dict[str, Needs | None] = {}
        """Pool name -> what it needs, while it has no process: nothing of it changes then."""

    async def run(self) -> None:
        """Old calls are deleted again and again; what goes wrong is logged and tried again."""
        pause_s = min(limits.DELETION_INTERVAL_S, self._retention.total_seconds())
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self.clean()
            except Exception as error:
                _log.warning("old_calls_not_deleted", error=repr(error))

    async def clean(self) -> int:
        """Calls that are old and that nobody needs are gone; how many segments.

        Raises:
            Unavailable: a pool did not say what it needs, or the log cannot be written.
            TimeoutError: a pool did not answer in time.
        """
        before = from_us(self._now_us()) - self._retention
        async with asyncio.timeout(limits.DELETION_ASK_S):
            needs = await self._needs()
        await asyncio.to_thread(self._confirm)
        applied = applied_by_all(needs)
        before = min(
            [before, *(from_us(one.since_us) for one in needs if one.since_us is not None)]
        )
        segments = 0
        for _ in range(limits.DELETIONS_MAX):
            deleted = await asyncio.to_thread(self._delete, before, applied)
            segments += deleted.segments
            if not deleted.more:
                break
            await asyncio.sleep(limits.DELETION_PAUSE_S)
        if segments:
            await asyncio.to_thread(self._forget_decisions)
            _log.info("old_calls_deleted", segments=segments, before=before.isoformat())
        return segments

    def _delete(self, before: datetime, applied: dict[int, int] | None) -> Deleted:
        self._call_log = self._call_log or self._open_log()
        return self._call_log.delete_before(before, applied=applied)

    def _forget_decisions(self) -> None:
        """Decisions about calls that are gone are gone, too."""
        assert self._call_log is not None
        oldest = self._call_log.list_calls(CallQuery(limit=1))
        for _ in range(limits.DELETIONS_MAX if oldest else 0):
            if not self._store.forget_decisions(before_pos=oldest[0].pos):
                break

    async def _needs(self) -> list[Needs]:
        found: list[Needs | None] = []
        for one in self._deployed():
            name = one.spec.name
            if name in self._pools:
                self._resting.pop(name, None)
                answers = await self._pools.ask_all(name, "needs")
                found += [msgspec.msgpack.decode(one, type=Needs) for one in answers]
            else:
                found.append(await asyncio.to_thread(self._needs_of_resting, one))
            if one.is_active:
                found.append(await asyncio.to_thread(needs_of_successor, self._store, one.spec))
        return [one for one in found if one is not None]

    def _needs_of_resting(self, one: Deployed) -> Needs | None:
        name = one.spec.name
        if name not in self._resting:
            needs = needs_of_resting(self._store, self._seal(), one.spec, is_active=one.is_active)
            self._resting[name] = needs
            if needs is not None:
                _log.warning("calls_kept_for_a_pool_that_does_not_run", pool=name)
        return self._resting[name]
