"""Which calls of the log the pools of a deployment may still need: all others may be deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from raysume.actors import handover
from raysume.actors.handover import Boundary
from raysume.actors.kernel.journal import Sealer
from raysume.actors.kernel.status import ENDED, Status
from raysume.actors.membership import Assignment, assigned
from raysume.actors.shard_logs import ShardLog
from raysume.actors.specs import PoolSpec
from raysume.storage.ports import InstanceQuery, Store

if TYPE_CHECKING:
    from raysume.actors.hosting import PoolHost
    from raysume.actors.kernel.kernel import Kernel


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What one pool may still need: calls at or behind `applied`, and those since `since_us`.

    Calls in inboxes are no part of it: an inbox holds the call itself.
    """

    applied: dict[int, int]
    """partition -> offset below which every call was applied, durably."""
    since_us: int | None = None
    """From when on the log is being searched for a wait; None: no search is under way."""


async def needs_of(host: PoolHost) -> Needs:
    """What a running pool needs."""
    applied = dict(host.kernel.watermarks)
    await host.flushed()
    return Needs(applied=applied, since_us=_searched_since_us(host.kernel))


def _searched_since_us(kernel: Kernel) -> int | None:
    """From when on the log is being searched for waits; None when it is not."""
    waits = [
        kernel.instances[id].waits[wait] for id, wait in kernel.looking if id in kernel.instances
    ]
    return min((wait.since_us or 0 for wait in waits), default=None)


def needs_of_resting(
    store: Store, sealer: Sealer, spec: PoolSpec, *, is_active: bool
) -> Needs | None:
    """What a pool without process will need when it runs again; None: nothing, it is over.

    Raises:
        SealBroken: its shards were changed by somebody without the key.
    """
    if not is_active and not _has_unfinished(store, sealer, spec):
        return None
    record = handover.recorded(store, spec.name)
    begins = None if record is None else record.begins
    assignment = assigned(store, spec.name) or Assignment.spread(1)
    members = [
        Needs(
            applied=Boundary.of_resting(store, sealer, spec, assignment.of(member))
            .joined(begins)
            .offsets
        )
        for member in sorted(set(assignment.owners))
    ]
    return Needs(applied=applied_by_all(members) or {})


def needs_of_successor(store: Store, spec: PoolSpec) -> Needs | None:
    """What the version will need that follows this one, whose time has ended; None: it has not."""
    record = handover.recorded(store, spec.name)
    return None if record is None or record.ends is None else Needs(applied=record.ends.offsets)


def applied_by_all(needs: Sequence[Needs]) -> dict[int, int] | None:
    """partition -> offset below which no pool needs calls; None when there are no pools."""
    if not needs:
        return None
    partitions = {partition for one in needs for partition in one.applied}
    return {
        partition: min(one.applied.get(partition, 0) for one in needs) for partition in partitions
    }


def _has_unfinished(store: Store, sealer: Sealer, spec: PoolSpec) -> bool:
    """Whether an instance of the version has not ended, by its row and the journal behind it."""
    last: dict[tuple[int, int], bool] = {}
    for owned in store.shards():
        if (owned.ref.workflow, owned.ref.version) == (spec.workflow, spec.version):
            codec = ShardLog(owned, sealer).codec
            for row in store.journal_of(owned.key, after=0):
                for turn in codec.read_journal_row(row.seq, row.body).turns:
                    last[owned.key, turn.instance.number] = turn.instance.status in ENDED
    if not all(last.values()):
        return True
    for status in (Status.WAITING, Status.RUNNING, Status.FAILED):
        query = InstanceQuery(
            workflow=spec.workflow, version=spec.version, status=status.value, limit=len(last) + 1
        )
        if any((row.shard, row.number) not in last for row in store.list_instances(query)):
            return True
    return False
