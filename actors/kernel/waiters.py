"""Who waits, by key: entries of the index, and the ids of holders that are packed or cold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from raysume.actors.kernel.folding import Folded, unfolded
from raysume.actors.kernel.records import WaitRecord

K = TypeVar("K")


class Holder(Protocol):
    """Whoever waits: an instance, or the workflow's standing first wait."""

    @property
    def id(self) -> str: ...


@dataclass(slots=True, eq=False)
class Entry:
    """One open wait in the index."""

    holder: Holder
    wait: WaitRecord
    order: int
    """Order of registration: whoever waits longest comes first."""


Waiting: TypeAlias = Entry | Folded | dict[Entry | Folded, None]
"""Who waits under one key: one alone, or several."""


class Waiters(Generic[K]):
    """Who waits, by key: entries, and the ids of packed holders.

    One alone stands under its key without a collection around it: with many instances most do.
    """

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[K, Waiting] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[K]:
        return iter(self._by_key)

    def put(self, key: K, one: Entry | Folded) -> bool:
        """`one` waits under the key; an id may be put there again. Whether nobody waited there."""
        there = self._by_key.get(key)
        if there is None:
            self._by_key[key] = one
            return True
        if isinstance(there, dict):
            there[one] = None
        elif there != one:
            self._by_key[key] = {there: None, one: None}
        return False

    def put_all(self, keys: Sequence[K], ids: Sequence[Folded]) -> None:
        """Each of these holders waits under the key that stands at its place."""
        if self._by_key.keys().isdisjoint(keys):
            size = len(self._by_key)
            self._by_key.update(zip(keys, ids, strict=True))
            if len(self._by_key) == size + len(keys):
                return
        for key, one in zip(keys, ids, strict=True):  # several under one key: all are put there
            self.put(key, one)

    def drop(self, key: K, one: Entry | Folded) -> bool:
        """`one` waits under the key no more; an id that was dropped may be dropped again.

        Whether nobody waits there now, and somebody did.
        """
        there = self._by_key.get(key)
        if isinstance(there, dict):
            there.pop(one, None)
            if len(there) == 1:
                self._by_key[key] = next(iter(there))
        elif there == one:
            del self._by_key[key]
            return True
        return False

    def exchange(self, key: K, one: Entry | Folded, other: Entry | Folded) -> None:
        """`other` waits under the key in the place of `one`, if that does."""
        if self._by_key.get(key) == one:
            self._by_key[key] = other
        else:
            self.drop(key, one)
            self.put(key, other)

    def everybody(self) -> list[Waiting]:
        """Whoever waits, by key."""
        return list(self._by_key.values())

    def under(self, key: K) -> Waiting | None:
        """Whoever waits under the key: nobody, one, or several."""
        return self._by_key.get(key)


def holders_in(found: Iterable[Waiting]) -> set[str]:
    """The ids of the holders; may be asked for in another thread than that of the index."""
    return {
        one.holder.id if isinstance(one, Entry) else unfolded(one)
        for there in found
        for one in (list(there) if isinstance(there, dict) else (there,))
    }


def ids_in(there: Waiting | None) -> Collection[str]:
    """The packed holders among those who wait under a key."""
    if isinstance(there, dict):
        return [unfolded(one) for one in there if not isinstance(one, Entry)]
    return () if there is None or isinstance(there, Entry) else (unfolded(there),)
