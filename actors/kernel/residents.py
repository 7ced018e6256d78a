"""The instances that a kernel has in memory: those used last as objects, the others packed.

A packed instance is its record as bytes, and its id under the keys of its waits in the index:
a third of what its objects take, and nothing that the garbage collector looks at. It is an object
again as soon as somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, MutableMapping, ValuesView
from itertools import chain, islice
from typing import Any, TypeVar, overload

import msgspec

from raysume import ids, limits
from raysume.actors.kernel.index import WaitIndex
from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.records import InstanceRecord
from raysume.actors.kernel.status import Status

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(InstanceRecord).decode


class Residents(MutableMapping[str, Instance]):
    """Instances by id.

    Whoever looks at an instance without changing it uses `peek`, and sees a copy of one that is
    packed.

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
        self._packed: dict[str, bytes] = {}
        index.wake = self.__getitem__

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
            return self._unpacked(id) if id in self._packed else default
        return found

    def __setitem__(self, id: str, instance: Instance) -> None:
        assert id not in self._packed, f"{id} is there, packed"
        self._loaded[id] = instance

    def __delitem__(self, id: str) -> None:
        if id in self._packed:
            self._unpacked(id)
        del self._loaded[id]

    def __contains__(self, id: object) -> bool:
        return id in self._loaded or id in self._packed

    def __iter__(self) -> Iterator[str]:
        return chain(self._packed, self._loaded)

    def __len__(self) -> int:
        return len(self._loaded) + len(self._packed)

    def values(self) -> ValuesView[Instance]:
        """All of them, those used last at the end; of those that are packed copies."""
        return _Peeked(self)

    # --- what is packed ----------------------------------------------------------

    @property
    def loaded(self) -> Collection[Instance]:
        """Those that are objects: all that have something under way are."""
        return self._loaded.values()

    @property
    def packed(self) -> int:
        """How many are packed: all of them wait."""
        return len(self._packed)

    def peek(self, id: str) -> Instance | None:
        """The instance, or a copy of it, to be looked at only."""
        found = self._loaded.get(id)
        if found is not None:
            return found
        packed = self._packed.get(id)
        return None if packed is None else _instance_in(packed)

    def add_packed(self, record: InstanceRecord) -> bool:
        """The saved instance is there, packed; False: it is to be an object, and is not there."""
        if len(self._loaded) < self._loaded_max or not _is_idle(record):
            return False
        self._index.add_packed(record.id, record.waits)
        self._packed[record.id] = _encode(record)
        return True

    def newest_first(self) -> Iterator[Instance]:
        """As `values`, those used last at the beginning."""
        for id in chain(reversed(list(self._loaded)), reversed(list(self._packed))):
            found = self.peek(id)
            if found is not None:
                yield found

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
            if record is not None and _is_idle(record):
                self._index.pack(instance.entries.values())
                self._packed[id] = _encode(record)
            else:
                self._loaded[id] = instance  # it is looked at again when others have been

    def _unpacked(self, id: str) -> Instance:
        instance = _instance_in(self._packed[id])
        instance.entries = self._index.unpack(instance, instance.waits.values())
        del self._packed[id]
        self._loaded[id] = instance
        return instance


class _Peeked(ValuesView[Instance]):
    def __init__(self, residents: Residents) -> None:
        super().__init__(residents)
        self._residents = residents

    def __iter__(self) -> Iterator[Instance]:
        for id in list(self._residents):
            found = self._residents.peek(id)
            if found is not None:
                yield found


def _instance_in(packed: bytes) -> Instance:
    record = _decode(packed)
    return Instance.of(record, shard=ids.shard_of(record.id, limits.SHARDS))


def _is_told_by_record(instance: Instance) -> bool:
    """Whether its record and the index have everything about the instance."""
    if instance.live is not None or instance.busy or instance.cause is not None:
        return False
    if instance.last_words or instance.complaints:
        return False
    return instance.entries.keys() == instance.waits.keys()


def _is_idle(record: InstanceRecord) -> bool:
    """Whether the instance waits, and nothing of it is under way."""
    if record.status != Status.WAITING.value or record.undoing is not None:
        return False
    if record.inbox or record.steps or record.children:
        return False
    return all(wait.order and not wait.looks_back for wait in record.waits)
