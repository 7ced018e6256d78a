"""The instances that a kernel knows: those used last as objects, others packed or left in the store.

A packed instance is its record as bytes, and its id under the keys of its waits in the index:
a third of what its objects take, and nothing that the garbage collector looks at. Of a cold one
only the id is in memory; its record is read from the store (see `Keeper`). Both are objects again as
soon as somebody asks for them.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    MutableMapping,
    ValuesView,
)
from itertools import chain, islice
from typing import Any, Protocol, TypeVar, overload

import msgspec

from raysume import ids, limits
from raysume.actors.kernel.folding import Folded, FoldedIds, folded, unfolded
from raysume.actors.kernel.index import WaitIndex
from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.records import InstanceRecord
from raysume.actors.kernel.status import Status
from raysume.errors import InvariantViolated, SealBroken

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(InstanceRecord).decode


class Keeper(Protocol):
    """What has the records of instances durably."""

    def holds(self, record: InstanceRecord) -> bool:
        """Whether `read` gives exactly this record, as long as the instance does not change."""
        ...

    def read(self, ids: Collection[str]) -> list[InstanceRecord]:
        """What there is of these instances, in any order. It may be called in any thread.

        Raises:
            StoreUnavailable: they cannot be read now.
            SealBroken: something was not written by this deployment.
        """
        ...

    def check_owned(self) -> None:
        """Returns when nobody else may have changed what was left here.

        Raises:
            Fenced: another incarnation has taken the shards over.
            StoreUnavailable: it is not known now.
        """
        ...


class _Nowhere:
    """Keeps nothing: every record stays in memory."""

    def holds(self, record: InstanceRecord) -> bool:
        """See `Keeper`."""
        del record
        return False

    def read(self, ids: Collection[str]) -> list[InstanceRecord]:
        """See `Keeper`."""
        raise InvariantViolated(f"{len(ids)} instances were left to nobody")

    def check_owned(self) -> None:
        """See `Keeper`."""


class Residents(MutableMapping[str, Instance]):
    """Instances by id.

    Whoever looks at an instance without changing it uses `peek`, and sees a copy of one that is
    no object.

    Args:
        index: of their waits.
        loaded_max: how many may be objects, beside those that have something under way; None:
            the usual.
    """

    def __init__(self, index: WaitIndex, *, loaded_max: int | None = None) -> None:
        self._index = index
        self._loaded_max = limits.LOADED_INSTANCES_MAX if loaded_max is None else loaded_max
        self._loaded: dict[str, Instance] = {}
        """The one that was loaded last stands last."""
        self._packed: dict[Folded, bytes] = {}
        """The one that was packed last stands last."""
        self._packed_bytes = 0
        self._cold = FoldedIds()
        self.keeper: Keeper = _Nowhere()
        self.bytes_max = limits.MEMORY_BUDGET
        """How many bytes the packed ones may have."""
        index.wake = self.wake

    # --- as a mapping ------------------------------------------------------------

    def __getitem__(self, id: str) -> Instance:
        found = self._loaded.get(id)
        return self._unpacked(id) if found is None else found

    @overload
    def get(self, id: str, /) -> Instance | None: ...
    @overload
    def get(self, id: str, /, default: Instance | T) -> Instance | T: ...
    def get(self, id: str, /, default: Any = None) -> Any:
        """The instance, or `default` when there is none."""
        found = self._loaded.get(id)
        if found is None:
            return self._unpacked(id) if self.sleeps(id) else default
        return found

    def __setitem__(self, id: str, instance: Instance) -> None:
        assert not self.sleeps(id), f"{id} is there, packed or cold"
        self._loaded[id] = instance

    def __delitem__(self, id: str) -> None:
        if self.sleeps(id):
            self._unpacked(id)
        del self._loaded[id]

    def __contains__(self, id: object) -> bool:
        return id in self._loaded or (isinstance(id, str) and self.sleeps(id))

    def __iter__(self) -> Iterator[str]:
        return chain(self._cold, map(unfolded, self._packed), self._loaded)

    def __len__(self) -> int:
        return len(self._loaded) + len(self._packed) + len(self._cold)

    def values(self) -> ValuesView[Instance]:
        """All of them, those used last at the end; of those that are no objects copies."""
        return _Peeked(self)

    # --- what sleeps -------------------------------------------------------------

    @property
    def loaded(self) -> Collection[Instance]:
        """Those that are objects: all that have something under way are."""
        return self._loaded.values()

    @property
    def packed(self) -> int:
        """How many are packed: all of them wait."""
        return len(self._packed)

    @property
    def packed_bytes(self) -> int:
        """How many bytes their records have."""
        return self._packed_bytes

    @property
    def cold(self) -> Collection[str]:
        """Those whose records are in the store only: all of them wait."""
        return self._cold

    def sleeps(self, id: str) -> bool:
        """Whether the instance is there, and no object."""
        return folded(id) in self._packed or id in self._cold

    def peek(self, id: str) -> Instance | None:
        """The instance, or a copy of it, to be looked at only."""
        return next(self.peek_all((id,)), None)

    def peek_all(
        self, ids: Collection[str], *, read: Iterable[InstanceRecord] = ()
    ) -> Iterator[Instance]:
        """Those of the instances that are there, as `peek` gives them, in any order.

        Args:
            read: records that were read a moment ago; what else is cold is read at once.
        """
        known = [one for one in read if one.id in self._cold and self.keeper.holds(one)]
        yield from (_instance_of(_as_left(one)) for one in known)
        there = {one.id for one in known}
        cold = [id for id in ids if id in self._cold and id not in there]
        if cold:
            yield from (_instance_of(_as_left(one)) for one in self._read(cold))
        for id in ids:
            found = self._loaded.get(id)
            if found is not None:
                yield found
            elif (packed := self._packed.get(folded(id))) is not None:
                yield _instance_of(_decode(packed))

    def newest_first(self) -> Iterator[Instance]:
        """As `values`, those used last at the beginning."""
        packed = map(unfolded, reversed(list(self._packed)))
        for id in chain(reversed(list(self._loaded)), packed):
            yield from self.peek_all((id,))
        yield from self.peek_in_parts(list(self._cold))

    def peek_in_parts(self, ids: Iterable[str]) -> Iterator[Instance]:
        """As `peek_all`, but what is cold is read in parts, as the iterator is consumed."""
        left = iter(ids)
        while some := list(islice(left, limits.COLD_READ_MAX)):
            yield from self.peek_all(some)

    def add_packed(self, record: InstanceRecord) -> bool:
        """The saved instance is there, packed or cold; False: it is to be an object, and is not."""
        if len(self._loaded) < self._loaded_max or not is_idle(record):
            return False
        kept = folded(record.id)
        self._index.add_packed(kept, record.waits)
        if self._has_surplus and self.keeper.holds(record):
            self._cold.add_folded(kept)
        else:
            self._pack(kept, record)
        return True

    def add_cold(self, kept: Iterable[Folded]) -> None:
        """These are there, cold: the keeper has them, and their waits are in the index."""
        self._cold.add_all(kept)

    def forget_cold(self, id: str) -> None:
        """The instance, which is cold, is not there; its waits have left the index."""
        self._cold.discard(id)

    def pack_surplus(self) -> None:
        """No more are objects than may be, unless they have something under way.

        Nobody holds one of them now.
        """
        surplus = len(self._loaded) - self._loaded_max
        if surplus <= self._loaded_max // 8:
            return
        for id in list(islice(self._loaded, surplus)):
            instance = self._loaded.pop(id)
            record = instance.record() if _is_told_by_record(instance) else None
            if record is not None and is_idle(record):
                kept = folded(id)
                self._index.pack(kept, instance.entries.values())
                self._pack(kept, record)
            else:
                self._loaded[id] = instance  # it is looked at again when others have been

    @property
    def _has_surplus(self) -> bool:
        """Whether the packed ones have more bytes than they may have."""
        return self._packed_bytes > self.bytes_max

    def leave_surplus(self, under_way: Callable[[], Collection[str]]) -> bool:
        """Packed ones that the keeper has, and for which there is no room, are cold: some of them.

        Args:
            under_way: ids of those that have changed in a commit that is not durable yet.

        Returns:
            Whether there are likely to be more.
        """
        if not self._has_surplus:
            return False
        changing, cold = under_way(), len(self._cold)
        for kept in list(islice(self._packed, limits.LEFT_INSTANCES_MAX)):
            packed = self._packed.pop(kept)
            record = _decode(packed)
            if record.id not in changing and self.keeper.holds(record):
                self._cold.add_folded(kept)
                self._packed_bytes -= len(packed)
                if not self._has_surplus:
                    return False
            else:
                self._packed[kept] = packed  # it is looked at again when others have been
        return len(self._cold) > cold

    def wake(self, ids: Collection[str]) -> None:
        """Those of the instances that sleep are objects. What is cold is read at once."""
        cold = [id for id in ids if id in self._cold] if self._cold else None
        if cold:
            self.bring(self._read(cold))
        for id in ids:
            if (packed := self._packed.pop(kept := folded(id), None)) is not None:
                self._unpack(kept, packed)

    def bring(self, records: Iterable[InstanceRecord]) -> None:
        """Those that are still cold, and of which these are the records, are objects."""
        for record in records:
            if record.id in self._cold and self.keeper.holds(record):
                self._cold.discard(record.id)
                self._load(folded(record.id), _as_left(record))

    def _read(self, cold: Collection[str]) -> list[InstanceRecord]:
        """The records of cold instances, read at once."""
        records = self.keeper.read(cold)
        if len(records) < len(cold) or not all(map(self.keeper.holds, records)):
            self.keeper.check_owned()
            raise SealBroken(
                "instance rows are not those of their shard's checkpoint: rows were removed or set "
                "back. Restore the database from a backup taken as a whole."
            )
        return records

    def _pack(self, kept: Folded, record: InstanceRecord) -> None:
        packed = self._packed[kept] = _encode(record)
        self._packed_bytes += len(packed)

    def _unpacked(self, id: str) -> Instance:
        kept = folded(id)
        packed = self._packed.pop(kept, None)
        if packed is not None:
            return self._unpack(kept, packed)
        self.bring(self._read((id,)))
        return self._loaded[id]

    def _unpack(self, kept: Folded, packed: bytes) -> Instance:
        self._packed_bytes -= len(packed)
        return self._load(kept, _decode(packed))

    def _load(self, kept: Folded, record: InstanceRecord) -> Instance:
        instance = self._loaded[record.id] = _instance_of(record)
        instance.entries = self._index.unpack(kept, instance, record.waits)
        return instance


class _Peeked(ValuesView[Instance]):
    def __init__(self, residents: Residents) -> None:
        super().__init__(residents)
        self._residents = residents

    def __iter__(self) -> Iterator[Instance]:
        yield from self._residents.peek_in_parts(list(self._residents))


def _instance_of(record: InstanceRecord) -> Instance:
    return Instance.of(record, shard=ids.shard_of(record.id, limits.SHARDS))


def _as_left(record: InstanceRecord) -> InstanceRecord:
    """The instance as it was when it was left to the keeper: its waits had looked back.

    That they have is the one thing that may not be recorded: a recovery does it again.
    """
    if not any(wait.looks_back for wait in record.waits):
        return record
    waits = [msgspec.structs.replace(wait, looks_back=False) for wait in record.waits]
    return msgspec.structs.replace(record, waits=waits)


def _is_told_by_record(instance: Instance) -> bool:
    """Whether its record and the index have everything about the instance."""
    if instance.live is not None or instance.busy or instance.cause is not None:
        return False
    if instance.last_words or instance.complaints:
        return False
    return instance.entries.keys() == instance.waits.keys()


def is_idle(record: InstanceRecord) -> bool:
    """Whether the instance waits, and nothing of it is under way."""
    if record.status != Status.WAITING or record.undoing is not None:
        return False
    if record.inbox or record.steps or record.children:
        return False
    for wait in record.waits:  # noqa: SIM110 - all() takes longer, and every checkpointed record is asked
        if wait.looks_back or not wait.order:
            return False
    return True
