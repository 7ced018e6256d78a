"""Who gets a call: running instances first, and only if none does, a new one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from raysume import ids, limits
from raysume.actors.kernel import looking_back, traces
from raysume.actors.kernel.bids import ANY_VERSION, Bid, Verdict
from raysume.actors.kernel.deliveries import DeliveredCall
from raysume.actors.kernel.exclusives import queued_in
from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.mailboxes import is_late_enough, key_met, meets
from raysume.actors.kernel.places import raised_at
from raysume.actors.kernel.records import Begin, CallMet, Stimulus
from raysume.actors.kernel.waiters import Entry
from raysume.matching import Parsed

if TYPE_CHECKING:
    from raysume.actors.kernel.kernel import Kernel


def apply_call(
    kernel: Kernel,
    item: DeliveredCall,
    *,
    may_start: bool = True,
    verdict: Verdict | None = None,
) -> None:
    """Every running instance with a matching wait has the call, or else a new instance.

    Args:
        may_start: False: a call that no instance waits for is another version's to start with.
        verdict: who gets it, if other kernels may want it, too; None: this kernel knows.
    """
    place = (item.pos, item.offset)
    kernel.newest = max(kernel.newest, place)
    kernel.commit.applied_calls += 1
    parsed = kernel.recent.add(item)
    found, failures = kernel.index.find(parsed)
    for failure in failures:
        kernel.log(
            failure.entry.holder.id,
            "error",
            "match raised",
            wait=failure.entry.wait.id,
            call=item.call.id,
            error=f"{type(failure.error).__name__}: {failure.error}",
            at=raised_at(failure.error),
        )
    start: Entry | None = None
    taken: set[str] = set()
    given = False
    if verdict is not None:
        kernel.arbitration.remember(kernel, verdict)
    for entry in found:
        holder = entry.holder
        if not isinstance(holder, Instance):
            start = start or entry
        elif (
            holder.id not in taken
            and not (verdict is not None and verdict.starter is not None)
            and _can_take(holder, entry, item)
        ):
            if entry.wait.exclusive and verdict is not None and holder.id != verdict.winner:
                if verdict.winner is None:  # it was decided without this wait
                    looking_back.again_for(kernel, holder, entry)
                continue
            if entry.wait.exclusive and given:
                continue
            taken.add(holder.id)
            given = given or entry.wait.exclusive
            meet(kernel, holder, entry, item)
    if taken:
        return
    if start is None:
        kernel.commit.passed("not_open" if found else "match_raised" if failures else "no_wait")
    elif not kernel.workflow.active:
        kernel.commit.passed("inactive")
    elif not (_may_start(kernel, verdict, may_start) and _start(kernel, start, item)):
        kernel.commit.passed("elsewhere")


def _may_start(kernel: Kernel, verdict: Verdict | None, may_start: bool) -> bool:
    if verdict is None:
        return may_start
    return verdict.starter == kernel.version or (verdict.starter == ANY_VERSION and may_start)


def bid_for(
    kernel: Kernel, item: DeliveredCall, *, partition: int, may_start: bool, knows_starts: bool
) -> Bid:
    """What `apply_call` would do with the call, if nobody else wanted it; nothing has changed.

    Args:
        may_start: as there.
        knows_starts: whether no other version could start an instance with it.
    """
    found, _ = kernel.index.find(Parsed(item.call))
    takes = starts = False
    longest: tuple[int, str] | None = None
    for entry in found:
        holder = entry.holder
        if not isinstance(holder, Instance):
            starts = may_start and kernel.workflow.active
        elif _can_take(holder, entry, item):
            if not entry.wait.exclusive:
                takes = True
            elif longest is None:
                longest = (entry.order, holder.id)
    return Bid(
        partition=partition,
        offset=item.offset,
        pos=item.pos,
        method=item.call.method,
        takes=takes,
        waits_since=longest,
        starts=starts,
        knows_starts=knows_starts,
        participant=kernel.arbitration.participant,
        shards=tuple(sorted(kernel.shards)),
    )


def meet(kernel: Kernel, instance: Instance, entry: Entry, item: DeliveredCall) -> None:
    """The call has met a wait of the instance, which meets nothing else from now on."""
    kernel.index.remove(entry)
    del instance.entries[entry.wait.id]
    if entry.wait.exclusive:
        kernel.exclusives.take((item.pos, item.offset))
        kernel.arbitration.won.discard((item.pos, item.offset))
    kernel.stimulate(instance, CallMet(entry.wait.id, item, entry.wait.exclusive))


def offer_again(kernel: Kernel, stimuli: Iterable[Stimulus]) -> None:
    """Calls queued for exclusive waits that have ended meet those that wait longest now."""
    for queued in queued_in(stimuli):
        item = queued.call
        kernel.exclusives.give_back((item.pos, item.offset))
        found, _ = kernel.index.find(Parsed(item.call))
        for entry in found:
            holder = entry.holder
            if (
                isinstance(holder, Instance)
                and entry.wait.exclusive
                and entry.wait.id in holder.entries
                and _may_meet(entry, item)
                and fits(kernel, holder, entry, item)
            ):
                meet(kernel, holder, entry, item)
                break


def fits(kernel: Kernel, instance: Instance, entry: Entry, item: DeliveredCall) -> bool:
    """Whether an earlier call may meet the wait: new to the instance, and no start of another."""
    if not item.call.is_seen_by(kernel.service):
        return False
    key = key_met(entry.wait, item, kernel.methods)
    if key is None or not instance.mailbox.is_open(entry.wait, key, (item.pos, item.offset)):
        return False
    if kernel.knows(ids.instance_id_of(kernel.workflow.name, item.call.id)):
        return False
    if entry.wait.exclusive and kernel.exclusives.is_taken((item.pos, item.offset)):
        return False
    return meets(entry.wait, item)


def _start(kernel: Kernel, entry: Entry, item: DeliveredCall) -> bool:
    """Whether the call has started an instance here."""
    instance_id = ids.instance_id_of(kernel.workflow.name, item.call.id)
    if not kernel.owns(instance_id) or kernel.knows(instance_id):
        return False  # another member's, or the call's id was used before
    place = (item.pos, item.offset)
    if ids.shard_of(instance_id, limits.SHARDS) not in kernel.shards:
        kernel.recent.started_an_instance(place)
        return False  # another member of the pool starts it
    instance = kernel.new_instance(instance_id, item.call.at_us, place)
    instance.origin = item.call.id
    if item.call.headers is not None:
        traces.hear(instance, item.call.headers)
    kernel.recent.started_an_instance(place)
    ordinal = kernel.standing.ordinal_of(entry.wait.id)
    kernel.stimulate(instance, Begin(call=item, ordinal=ordinal))
    return True


def _can_take(instance: Instance, entry: Entry, item: DeliveredCall) -> bool:
    """Whether the wait, which the call fits, is open and the instance has not received the call."""
    return (
        entry.wait.id in instance.entries
        and _may_meet(entry, item)
        and not instance.mailbox.has(item.call.method, (item.pos, item.offset))
    )


def _may_meet(entry: Entry, item: DeliveredCall) -> bool:
    """Whether the call may meet the wait directly.

    A wait that is still looking back takes older calls first; this one is found there.
    """
    return is_late_enough(entry.wait, item) and not entry.wait.looks_back
