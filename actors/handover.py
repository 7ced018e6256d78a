"""From one version of a workflow to the next: each call starts an instance of one of them.

The version that was active decides where its time ends, between two batches, and keeps
that before anybody hears of it; the next one begins exactly there. A version that was
active before, and is deployed again, holds still while its predecessor decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator
from typing import Self

import msgspec

from raysume import limits
from raysume.actors.hosting import PoolHost
from raysume.actors.kernel.commits import Delivered
from raysume.actors.kernel.deliveries import Delivery
from raysume.actors.kernel.journal import Sealer
from raysume.actors.kernel.records import START_OF_LOG, Place, ShardHeader
from raysume.actors.kernel.tenure import Tenure
from raysume.actors.office import store_under
from raysume.actors.shard_logs import ShardLog
from raysume.actors.specs import PoolSpec
from raysume.crash_points import crash_point
from raysume.storage.call_ports import CallLog
from raysume.storage.ports import Office, Store

_KIND = "tenure"


class Boundary(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the call log between two versions of a workflow."""

    offsets: dict[int, int]
    """partition -> offset of the first call behind it; 0 where a partition is not there."""
    newest: Place
    """The newest place before it."""

    @classmethod
    def at_end_of(cls, log: CallLog) -> Self:
        """The boundary behind every call that is accepted by now."""
        offsets, newest = log.barrier(), START_OF_LOG
        for partition, end in offsets.items():
            for segment in log.read(partition, start=max(0, end - 1), end=end):
                newest = max(newest, (segment.pos, end - 1))
        return cls(offsets=offsets, newest=newest)

    @classmethod
    def of_resting(
        cls, store: Store, sealer: Sealer, spec: PoolSpec, shards: Collection[int] | None = None
    ) -> Self:
        """Where a pool stands that has no process, or the furthest member, as far as it is durable.

        Args:
            shards: only these, by number.

        Raises:
            SealBroken: its shards were changed by somebody without the key.
        """
        offsets: dict[int, int] = {}
        newest = START_OF_LOG
        for owned in store.shards():
            if (owned.ref.workflow, owned.ref.version) != (spec.workflow, spec.version):
                continue
            if shards is not None and owned.ref.number not in shards:
                continue
            for header in _headers(store, ShardLog(owned, sealer)):
                newest = max(newest, header.newest)
                for partition, offset in header.watermarks.items():
                    offsets[partition] = max(offset, offsets.get(partition, 0))
        return cls(offsets=offsets, newest=newest)

    def joined(self, other: Boundary | None) -> Boundary:
        """The boundary behind both."""
        if other is None:
            return self
        offsets = dict(self.offsets)
        for partition, offset in other.offsets.items():
            offsets[partition] = max(offset, offsets.get(partition, 0))
        return Boundary(offsets=offsets, newest=max(self.newest, other.newest))


def _headers(store: Store, log: ShardLog) -> Iterator[ShardHeader]:
    seq = 0
    saved = store.checkpoint_of(log.owned.key)
    if saved is not None:
        seq, body = saved
        yield log.codec.read_checkpoint_header(seq, body).header
    for row in store.journal_of(log.owned.key, after=seq):
        yield log.codec.read_journal_row(row.seq, row.body).header


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The time of one pool as the active one, as the store keeps it."""

    begins: Boundary
    ends: Boundary | None = None


def recorded(store: Store, pool: str) -> Record | None:
    """The pool's record; None for one that has none yet."""
    body = store.get_document(_KIND, pool)
    return None if body is None else msgspec.msgpack.decode(body, type=Record)


def keep(store: Store, pool: str, record: Record) -> None:
    """The record is durable."""
    store.put_document(_KIND, pool, msgspec.msgpack.encode(record))


def recall(host: PoolHost, pool: str) -> None:
    """Before its start, the pool knows where its time begins, and where it ended if it did."""
    record = recorded(host.store, pool)
    if record is not None:
        host.kernel.intake.recover(record.begins.offsets)
        host.kernel.newest = max(host.kernel.newest, record.begins.newest)
        host.kernel.exclusives.pass_over(record.begins.newest)
        host.kernel.tenure = _tenure(record)


def _tenure(record: Record) -> Tenure:
    ends = None if record.ends is None else record.ends.offsets
    return Tenure(begins=record.begins.offsets, ends=ends)


def hold(host: PoolHost) -> Boundary:
    """The member applies nothing until `take_over` or `let_go`, or for a while; where it stands.

    Held again, it goes on holding for another while.
    """
    host.released.clear()
    if host.held_until is not None:
        host.held_until.cancel()
    loop = asyncio.get_running_loop()
    host.held_until = loop.call_later(limits.HANDOVER_S_MAX, let_go, host)
    return _here(host)


def let_go(host: PoolHost) -> None:
    """The member applies whatever comes again."""
    if host.held_until is not None:
        host.held_until.cancel()
        host.held_until = None
    host.released.set()


async def follow(host: PoolHost) -> Boundary:
    """The pool knows which calls need a verdict by now; where it stands.

    If that is behind the boundary of what is new, it has moved on meanwhile. What its exclusive
    waits took when nobody else could is claimed, durably: other participants may look for it.
    """
    await asyncio.to_thread(host.bidding.claim_taken)
    host.bidding.recall()
    return _here(host)


def stand(host: PoolHost, places: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Up to where the pool has dealt with each partition; calls at these places (partition,
    offset) that it has not heard of are read from the log."""
    marks = dict(host.kernel.watermarks)
    for partition, offset in places:
        if offset >= marks.get(partition, 0):
            start = marks.get(partition, 0)
            notice = Delivery(partition, start, offset + 1, 0, [])
            host.report(Delivered(delivery=notice))
    return marks


def take_over(
    host: PoolHost, pool: str, boundary: Boundary, *, under: Office | None = None
) -> None:
    """Calls behind the boundary start instances of this pool, durably; it goes on.

    Args:
        under: whose order it is.

    Raises:
        Fenced: somebody else holds that office by now; nothing was changed.
    """
    record = Record(begins=boundary)
    _keep(host, pool, record, under)
    crash_point("after_time_begun")
    host.kernel.tenure = _tenure(record)
    let_go(host)


async def retire(
    host: PoolHost, pool: str, *, after: Boundary | None, under: Office | None = None
) -> Boundary:
    """The pool's time has an end, durably: calls behind the boundary start nothing here.

    Args:
        after: the boundary is not before this one.
        under: whose order it is.

    Raises:
        Fenced: somebody else holds that office by now; no end is kept, and the member ends.
    """
    record = recorded(host.store, pool)
    if record is not None and record.ends is not None:
        host.kernel.tenure = _tenure(record)  # another member has written it
        await host.flushed()
        return record.ends
    boundary = _here(host).joined(after)
    ended = end(record, boundary)
    host.kernel.tenure = _tenure(ended)
    await host.flushed()  # what was started before is durable, and is not started again
    await host.checkpoint()  # and its successor finds the ids that were used
    _keep(host, pool, ended, under)
    crash_point("after_retirement_kept")
    return boundary


def _keep(host: PoolHost, pool: str, record: Record, under: Office | None) -> None:
    """The record is durable. A member that cannot tell ends: it begins with what is."""
    try:
        keep(store_under(host.store, under), pool, record)
    except Exception as error:
        host.end(error)
        raise


def end(record: Record | None, boundary: Boundary) -> Record:
    """The record of a pool whose time ends at the boundary."""
    begins = Boundary(offsets={}, newest=START_OF_LOG) if record is None else record.begins
    return Record(begins=begins, ends=boundary)


def _here(host: PoolHost) -> Boundary:
    return Boundary(offsets=dict(host.kernel.intake.watermarks), newest=host.kernel.newest)
