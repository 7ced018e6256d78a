"""A member's actor as shards are moved: it obeys the newest order only (see `moving`).

Each order to stand still has a number, higher than all before it, and what belongs to it names
that. What comes late, from a directory that has died, has a successor or does not wait any more,
does nothing: a member that was held by it would stand still for ever, one that was let go would
pass the place of a shard that is on its way to it. What is told while one version follows another
names the directory only.
"""

from __future__ import annotations

import msgspec

from raysume.actors import moving
from raysume.actors.hosting import PoolHost
from raysume.actors.specs import LateOrder, Order, directory_office
from raysume.storage.ports import Office, OwnedShard


class Ordered:
    """The part of `Pool` that gives shards up and takes them."""

    _name: str
    _owner: str
    """This process, as an owner of shards."""
    _newest: Order = (0, 0)
    """The number of the newest order."""

    def _started(self) -> PoolHost:
        """See `Pool`."""
        raise NotImplementedError

    def _may_be_started(self) -> bool:
        """Whether the process was given its shards, and has not failed to recover them."""
        raise NotImplementedError

    async def hold_place(self, order: Order) -> bytes | None:
        """See `moving.hold_between`; None: there is no process that was started.

        Raises:
            LateOrder: there was a newer one.
        """
        if not self._may_be_started():
            return None
        if order <= self._newest:
            raise self._late()
        self._newest = order
        standing = await moving.hold_between(self._started())
        return msgspec.msgpack.encode(msgspec.structs.replace(standing, owner=self._owner))

    def _ordered(self, order: Order) -> PoolHost:
        if order != self._newest:
            raise self._late()
        return self._started()

    def _obey(self, epoch: int) -> Office:
        """What the directory of this epoch orders is done; the office under which it is written.

        Raises:
            LateOrder: a newer one has given orders here.
        """
        if epoch < self._newest[0]:
            raise self._late()
        self._newest = max(self._newest, (epoch, 0))
        return directory_office(epoch)

    def _late(self) -> LateOrder:
        return LateOrder(f"{self._name} has had a newer order.", newest=self._newest)

    async def reach(self, order: Order, place: bytes) -> None:
        """See `moving.reach`."""
        standing = msgspec.msgpack.decode(place, type=moving.Standing)
        await moving.reach(self._ordered(order), standing)

    async def give(self, order: Order, shards: list[int]) -> None:
        """See `moving.give`."""
        await moving.give(self._ordered(order), shards, under=directory_office(order[0]))

    async def take(self, order: Order, grant: bytes) -> None:
        """See `moving.take`."""
        owned = msgspec.msgpack.decode(grant, type=list[OwnedShard])
        await moving.take(self._ordered(order), owned)

    async def go_on(self, order: Order) -> None:
        """See `moving.go_on`."""
        moving.go_on(self._ordered(order))
