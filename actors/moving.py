"""A member's part in the moving of shards: what a host does when it is told to (ADR 10).

Both members stand still, go on to one place, and only there a shard passes from one to the
other: all shards of a member have always seen the same calls, so its highest watermark is
right for each of them, also in recovery.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from raysume import ids, limits
from raysume.actors.kernel import parting, restoring
from raysume.actors.kernel.commits import Delivered
from raysume.actors.kernel.deliveries import Delivery
from raysume.actors.kernel.records import ShardHeader
from raysume.actors.office import store_under
from raysume.actors.recovering import adopt
from raysume.actors.waking import wake
from raysume.crash_points import crash_point
from raysume.errors import InvariantViolated
from raysume.storage.ports import Office, OwnedShard

if TYPE_CHECKING:
    from raysume.actors.hosting import PoolHost

NOBODY = "nobody"
"""The owner of a shard that a member gave up: no process, so none is ended for it."""

_NUDGE = Delivery(0, 0, 0, 0, [])


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a member stands, and what it owns."""

    shards: dict[int, int]
    """shard number -> epoch."""
    offsets: dict[int, int]
    """partition -> offset below which every call was applied."""
    is_held: bool
    """Whether it applies no further calls until it is told to."""
    owner: str = ""
    """The process that says so, as an owner of shards; empty where nobody asked."""

    def joined(self, other: Standing) -> Standing:
        """The place at which neither is behind the other; one without shards stands nowhere."""
        if not other.shards:
            return self
        if not self.shards:
            return other
        partitions = self.offsets.keys() | other.offsets.keys()
        offsets = {
            one: max(self.offsets.get(one, 0), other.offsets.get(one, 0)) for one in partitions
        }
        return msgspec.structs.replace(self, offsets=offsets)


def standing(host: PoolHost) -> Standing:
    """What the member owns, and where it stands."""
    kernel = host.kernel
    return Standing(
        shards=host.journal.epochs(),
        offsets=dict(kernel.watermarks),
        is_held=kernel.intake.bound is not None,
    )


def hold(host: PoolHost) -> Standing:
    """The member applies no further call until `go_on`; timers, steps and commands go on.

    It does not let go by itself: as long as a shard may be on its way to it, going on without it
    would lose the calls that the shard has not seen. Whoever moves shards lets it go, also after
    a crash, since it then asks every member where it stands.
    """
    intake = host.kernel.intake
    if intake.bound is None:
        intake.bound = dict(intake.watermarks)
    return standing(host)


async def hold_between(host: PoolHost) -> Standing:
    """The same, once no shards are coming or going: whoever ordered that may have died."""
    async with host.passing:
        return hold(host)


async def reach(host: PoolHost, place: Standing) -> None:
    """The member, which is held, has applied exactly what is before the place, durably."""
    _check_held(host)
    kernel = host.kernel
    if not kernel.shards:
        return  # it stands wherever its first shard does
    kernel.intake.bound = dict(place.offsets)
    gone = await _forgotten(host, place.offsets)
    ends = {one: end for one, end in place.offsets.items() if one not in gone}
    host.notice(ends)
    host.report(Delivered(delivery=_NUDGE))
    await host.caught_up(ends)


async def _forgotten(host: PoolHost, partitions: Iterable[int]) -> set[int]:
    """Those of which the log knows nothing any more: a member may have forgotten them before."""
    asked = list(partitions)
    return set(await host.effects.read_surely(lambda log: log.forgotten(asked)))


async def give(host: PoolHost, shards: Collection[int], *, under: Office | None = None) -> None:
    """The member, which is held, has given the shards up, durably; giving again does no harm.

    Args:
        under: whose order it is: if somebody else holds that office by now, the member ends
            instead, and owns them as before.

    Durability: when it returns, everything of the shards is in a checkpoint that has their place,
    and no process owns them. If it dies before, it owns them or nobody does.
    """
    async with host.passing:
        await _give(host, shards, under)


async def _give(host: PoolHost, shards: Collection[int], under: Office | None) -> None:
    _check_held(host)
    kernel = host.kernel
    leaving = [number for number in shards if number in kernel.shards]
    if not leaving:
        return
    host.released.clear()
    try:
        await host.flushed()
        noted = {*leaving, *sorted(kernel.shards.keys() - set(leaving))[:1]}  # what stays: a bid
        host.journal.note_places({number: kernel.header_of(number) for number in noted})
        await host.checkpoint()
        cold = await _forget_cold(host, leaving)
        await host.in_commits(lambda: _yield(host, leaving, under))
        instances = cold + parting.part_with(kernel, leaving)
        _drop_events(host, leaving)
        await host.effects.part_with(leaving, instances)
        _drop_events(host, leaving)
        host.endings.tell(instances)
    except Exception as error:
        host.end(error)
        raise
    finally:
        host.released.set()


async def _forget_cold(host: PoolHost, leaving: Collection[int]) -> list[str]:
    """Cold instances of the shards have left memory, as far as the index in the store tells what they
    wait for; their ids. Of the others the states have been read, which tell it."""
    loop, instances = asyncio.get_running_loop(), host.kernel.instances
    gone: list[str] = []
    if instances.cold:
        for run in await loop.run_in_executor(None, host.journal.index_of, leaving):
            gone += restoring.forget_run(host.kernel, run)
    await wake(host, [id for id in instances.cold if ids.shard_of(id, limits.SHARDS) in leaving])
    return gone


def _yield(host: PoolHost, leaving: Collection[int], under: Office | None) -> None:
    refs = host.journal.part_with(leaving)
    store_under(host.store, under).acquire(refs, owner=NOBODY)
    crash_point("after_shards_given")


def _drop_events(host: PoolHost, leaving: Collection[int]) -> None:
    """What was reported for instances that have left means nothing here any more."""
    host.keep_events(lambda event: parting.shard_of_event(event) not in leaving)


async def take(host: PoolHost, owned: Sequence[OwnedShard]) -> None:
    """The member, which is held, owns the shards too, and their work is under way.

    Args:
        owned: shards that stand where the member does, under epochs raised for this incarnation.

    Raises:
        InvariantViolated: they stand elsewhere: between the two, calls would be lost.
    """
    async with host.passing:
        await _take(host, owned)


async def _take(host: PoolHost, owned: Sequence[OwnedShard]) -> None:
    _check_held(host)
    kernel = host.kernel
    owned = [one for one in owned if one.ref.number not in kernel.shards]
    if not owned:
        return
    was_empty = not kernel.shards
    loop = asyncio.get_running_loop()
    host.released.clear()
    try:
        found = await loop.run_in_executor(None, lambda: host.journal.read(owned))
        headers = [log.header for log, _ in found if log.header is not None]
        if was_empty:
            await asyncio.to_thread(host.bidding.recall)
            _begin_where(host, headers)
        await _check_place(host, headers)
        await host.in_commits(lambda: host.journal.take([log for log, _ in found]))
        for log, read in found:
            adopt(kernel, log, read)
        kernel.arbitration.got(kernel)
        if was_empty:
            calls, covers = await loop.run_in_executor(None, host.recent_calls)
            verdicts = await asyncio.to_thread(lambda: host.bidding.verdicts(after=covers))
            kernel.remember(calls, covers, verdicts)
        else:
            parting.mark_starts(kernel)
        host.resume([one.ref.number for one in owned])
        if was_empty:
            await host.notice_log()
    except Exception as error:
        host.end(error)
        raise
    finally:
        host.released.set()


def _begin_where(host: PoolHost, headers: Sequence[ShardHeader]) -> None:
    """A member without shards stands where its first ones do."""
    for header in headers[:1]:
        parting.begin_at(host.kernel, header.watermarks, header.newest)
    host.kernel.intake.bound = dict(host.kernel.intake.watermarks)


async def _check_place(host: PoolHost, headers: Sequence[ShardHeader]) -> None:
    marks = host.kernel.watermarks
    for header in headers:
        partitions = marks.keys() | header.watermarks.keys()
        other = [one for one in partitions if marks.get(one, 0) != header.watermarks.get(one, 0)]
        if other and set(other) - await _forgotten(host, other):
            raise InvariantViolated(
                f"a shard of {host.workflow.name!r} that stands at {header.watermarks} was given "
                f"to a member that stands at {dict(marks)}."
            )


def go_on(host: PoolHost) -> None:
    """The member applies calls again, unless it has no shards."""
    if host.kernel.shards:
        host.kernel.intake.bound = None
        host.report(Delivered(delivery=_NUDGE))


def _check_held(host: PoolHost) -> None:
    if host.kernel.intake.bound is None:
        raise InvariantViolated(
            f"shards of {host.workflow.name!r} were to be moved while a member was applying calls."
        )
