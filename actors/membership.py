"""Which member of a pool owns which shard, and how shards pass from one to another.

The assignment is a document of the directory. Everything here is asked of a `Crew`, so that a
simulation can drive it, and let any part of it die at any step (ADR 10).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol, Self

import msgspec

from raysume import limits
from raysume.actors.moving import Standing
from raysume.crash_points import crash_point
from raysume.errors import Unavailable, UsageError
from raysume.storage.ports import OwnedShard, Store

_KIND = "members"


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """The owner of each shard of a pool: numbers of members."""

    members: int
    """How many there are to be; while shards are being moved, others may still own some."""
    owners: tuple[int, ...]
    """By shard number."""

    @classmethod
    def spread(cls, members: int) -> Self:
        """The shards of a new pool, evenly."""
        check_members(members)
        return cls(members=members, owners=tuple(n % members for n in range(limits.SHARDS)))

    def of(self, member: int) -> list[int]:
        """The shards of a member."""
        return [shard for shard, owner in enumerate(self.owners) if owner == member]

    @property
    def crew(self) -> list[int]:
        """The members that there are to be, and those that still own something."""
        return sorted({*range(self.members), *self.owners})

    def moved(self, shards: Collection[int], target: int) -> Assignment:
        """With these shards owned by `target`."""
        owners = [target if n in shards else owner for n, owner in enumerate(self.owners)]
        return msgspec.structs.replace(self, owners=tuple(owners))

    def resized(self, members: int) -> Assignment:
        """With so many members wanted; the shards are still where they were."""
        check_members(members)
        return msgspec.structs.replace(self, members=members)

    def moves(self) -> list[Move]:
        """The moves after which each wanted member has its share, and others have nothing."""
        least, more = divmod(limits.SHARDS, self.members)
        counts = Counter(self.owners)
        ranked = sorted(range(self.members), key=lambda one: (-counts[one], one))
        share = {one: least + (rank < more) for rank, one in enumerate(ranked)}
        spare = [
            (owner, shard) for owner in self.crew for shard in self.of(owner)[share.get(owner, 0) :]
        ]
        found: dict[tuple[int, int], list[int]] = {}
        for target in ranked:
            for _ in range(share[target] - counts[target]):
                source, shard = spare.pop(0)
                found.setdefault((source, target), []).append(shard)
        return [
            Move(source=source, target=target, shards=tuple(shards))
            for (source, target), shards in found.items()
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Shards that pass from one member to another together."""

    source: int
    target: int
    shards: tuple[int, ...]


def check_members(members: int) -> None:
    """Returns when a pool can have so many members.

    Raises:
        UsageError: it cannot.
    """
    if not 1 <= members <= limits.SHARDS:
        raise UsageError(
            f"a pool cannot have {members} members: each owns at least one of the {limits.SHARDS} "
            f"shards of its version. Give a number from 1 to {limits.SHARDS}."
        )


def assigned(store: Store, pool: str) -> Assignment | None:
    """The durable assignment of a pool; None for one that has none yet."""
    body = store.get_document(_KIND, pool)
    return None if body is None else msgspec.msgpack.decode(body, type=Assignment)


def assign(store: Store, pool: str, assignment: Assignment) -> None:
    """The assignment is durable."""
    store.put_document(_KIND, pool, msgspec.msgpack.encode(assignment))


class Crew(Protocol):
    """The members of one pool, as its directory reaches them.

    While shards are moved, no member is started: a process begins with what the assignment gives
    it, and that must not change between the two. Every method may raise, and may have had its
    effect all the same; whoever is asked again does no harm.
    """

    async def hold(self, member: int) -> Standing | None:
        """See `moving.hold_between`; None: it has no process that was started.

        What it is told below is part of this order: told after a newer one, it does nothing.
        """
        ...

    async def reach(self, member: int, place: Standing) -> None:
        """See `moving.reach`."""
        ...

    async def give(self, member: int, shards: Collection[int]) -> None:
        """See `moving.give`."""
        ...

    async def acquire(self, member: int, shards: Collection[int]) -> list[OwnedShard]:
        """The shards belong to the member's process under new epochs, durably."""
        ...

    async def take(self, member: int, owned: list[OwnedShard]) -> None:
        """See `moving.take`."""
        ...

    async def go_on(self, member: int) -> None:
        """See `moving.go_on`."""
        ...

    async def assignment(self) -> Assignment:
        """Who owns what, durably."""
        ...

    async def assign(self, assignment: Assignment) -> None:
        """That is who owns what, durably."""
        ...


async def move(crew: Crew, order: Move) -> None:
    """The shards are the target's, and both members go on.

    Durability: until the assignment is written they are the source's, from then on the target's,
    whoever dies. When this raises, `settle` brings both members to what the assignment says.
    """
    source, target = await _held(crew, order.source), await _held(crew, order.target)
    place = source.joined(target)
    await crew.reach(order.source, place)
    await crew.reach(order.target, place)
    await crew.give(order.source, order.shards)
    await crew.assign((await crew.assignment()).moved(order.shards, order.target))
    crash_point("after_shards_assigned")
    await settle(crew, (order.target, order.source))


async def _held(crew: Crew, member: int) -> Standing:
    found = await crew.hold(member)
    if found is None:
        raise Unavailable(
            f"member {member} is being brought back: no shard passes to it or from it."
        )
    return found


async def settle(crew: Crew, members: Iterable[int]) -> None:
    """Each member that runs owns what the assignment gives it, and goes on.

    One that has no process is left alone: it begins with all of it when it is started.
    """
    for member in members:
        found = await crew.hold(member)
        if found is None:
            continue
        wanted = (await crew.assignment()).of(member)
        missing = [shard for shard in wanted if shard not in found.shards]
        if missing:
            owned = await crew.acquire(member, missing)
            crash_point("after_shards_acquired")
            await crew.take(member, owned)
        await crew.go_on(member)
