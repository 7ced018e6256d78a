"""Looking back: a new wait first meets the calls that came before it and are not received yet.

Memory answers when it covers everything that counts; else the log is read. Until that has
ended, calls do not meet the wait directly: they are found in memory afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from raysume.actors.kernel import routing
from raysume.actors.kernel.bids import Claim
from raysume.actors.kernel.commits import Claimed, LookBackOrder, LookedBack
from raysume.actors.kernel.records import Place, WaitRecord

if TYPE_CHECKING:
    from raysume.actors.kernel.deliveries import DeliveredCall
    from raysume.actors.kernel.instances import Instance
    from raysume.actors.kernel.kernel import Kernel
    from raysume.actors.kernel.waiters import Entry


def clamp(kernel: Kernel, wait: WaitRecord) -> WaitRecord:
    """The wait, which looks back no further than it is known who had a call.

    A call that started an instance, or went to an exclusive wait, is for no other mailbox. That
    is known as long as the instance is kept, whose end cannot be before the call.
    """
    if not wait.before_start or not (wait.exclusive or kernel.standing.awaits(wait.method)):
        return wait
    floor_us = kernel.now_us - kernel.retention_us
    if (wait.since_us or 0) >= floor_us:
        return wait
    return msgspec.structs.replace(wait, since_us=floor_us)


def nothing_earlier(kernel: Kernel, instance: Instance, wait: WaitRecord) -> bool:
    """Whether memory shows that no earlier call can meet the wait."""
    floor = instance.mailbox.floor(wait)
    if floor >= kernel.newest:
        return True
    return kernel.recent.covers(floor) and kernel.recent.find(wait, instance.mailbox) is None


def begin(kernel: Kernel, instance_id: str, wait_id: str) -> None:
    """The wait has met the oldest earlier call that fits, or the log is asked, or there is none."""
    instance = kernel.instances.get(instance_id)
    entry = None if instance is None else instance.entries.get(wait_id)
    if instance is None or entry is None or not entry.wait.looks_back:
        return
    if instance.busy or instance.inbox or (instance_id, wait_id) in kernel.looking:
        return  # looked at again when the turn under way, or the reading, has ended
    floor = instance.mailbox.floor(entry.wait)
    if kernel.recent.covers(floor):
        _in_memory(kernel, instance, entry)
    else:
        _in_log(kernel, instance, entry, floor)


def end(kernel: Kernel, event: LookedBack) -> None:
    """The wait has met one of the calls read from the log, or one that came meanwhile, or none."""
    for one in event.verdicts:
        if one.winner is not None and not kernel.knows(one.winner):
            kernel.exclusives.take(one.place)
    starts = {one.place for one in event.verdicts if one.starter is not None}
    upto = kernel.looking.pop((event.instance, event.wait), None)
    instance = kernel.instances.get(event.instance)
    entry = None if instance is None else instance.entries.get(event.wait)
    if upto is None or instance is None or entry is None or not entry.wait.looks_back:
        return
    if instance.busy or instance.inbox:
        return  # the turn that is under way looks back again when it ends
    for item in event.calls:
        if (item.pos, item.offset) in starts:
            continue
        if routing.fits(kernel, instance, entry, item):
            _found(kernel, instance, entry, item)
            return
    if kernel.recent.covers(upto):
        _in_memory(kernel, instance, entry)
    else:
        _in_log(kernel, instance, entry, upto)


def again(kernel: Kernel, instance: Instance, *, method: str | None = None) -> None:
    """Every wait that has not finished looking back does so next.

    Args:
        method: waits for this one, too, look back again: a call of it is free again.
    """
    for entry in instance.entries.values():
        wait = entry.wait
        if wait.method == method:
            wait = msgspec.structs.replace(wait, looks_back=True)
            entry.wait = instance.waits[wait.id] = wait
        if wait.looks_back:
            kernel.look_back.append((instance.id, wait.id))


def again_for(kernel: Kernel, instance: Instance, entry: Entry) -> None:
    """The wait looks back again: a call that was decided about without it may still be free."""
    entry.wait = msgspec.structs.replace(entry.wait, looks_back=True)
    instance.waits[entry.wait.id] = entry.wait
    kernel.look_back.append((instance.id, entry.wait.id))


def seen(wait: WaitRecord) -> WaitRecord:
    """The wait, for which nothing earlier counts any more."""
    return msgspec.structs.replace(wait, looks_back=False)


def _in_memory(kernel: Kernel, instance: Instance, entry: Entry) -> None:
    found = kernel.recent.find(entry.wait, instance.mailbox)
    if found is not None:
        _found(kernel, instance, entry, found)
        return
    entry.wait = instance.waits[entry.wait.id] = seen(entry.wait)
    if kernel.arbitration.regimes:
        kernel.touch(instance)  # a bid counts on it: a successor stands where this kernel stood


def _found(kernel: Kernel, instance: Instance, entry: Entry, item: DeliveredCall) -> None:
    """The wait has met the earlier call, or has claimed it where others may do so, too."""
    wait, place = entry.wait, (item.pos, item.offset)
    arbitration = kernel.arbitration
    if not (wait.exclusive and arbitration.claims(wait.method)) or place in arbitration.won:
        routing.meet(kernel, instance, entry, item)
        return
    kernel.looking[instance.id, wait.id] = kernel.newest
    kernel.commit.claims.append(Claim(instance.id, wait.id, *place))


def claimed(kernel: Kernel, event: Claimed) -> None:
    """The wait looks back again: it has the call that it claimed, or passes it over."""
    claim = event.claim
    if kernel.looking.pop((claim.instance, claim.wait), None) is None:
        return
    if kernel.knows(event.winner):
        kernel.arbitration.won.add((claim.pos, claim.offset))
    else:
        kernel.exclusives.take((claim.pos, claim.offset))
    kernel.look_back.append((claim.instance, claim.wait))


def _in_log(kernel: Kernel, instance: Instance, entry: Entry, after: Place) -> None:
    wait = entry.wait
    kernel.looking[instance.id, wait.id] = kernel.newest
    kernel.commit.look_backs.append(
        LookBackOrder(
            instance=instance.id,
            wait=wait.id,
            method=wait.method,
            after=after,
            since_us=wait.since_us or 0,
            upto=kernel.newest,
        )
    )
