"""Ids of sleeping instances as they are kept: half as long where they are hashes, as most are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from typing import Final, TypeAlias

_HEX_DIGITS: Final = 32

Folded: TypeAlias = str | bytes
"""An id, or the sixteen bytes that its hexadecimal digits stand for."""


def folded(id: str) -> Folded:
    """The id as it is kept."""
    if len(id) == _HEX_DIGITS:
        try:
            raw = bytes.fromhex(id)
        except ValueError:
            return id
        if raw.hex() == id:  # neither spaces nor capitals
            return raw
    return id


def unfolded(kept: Folded) -> str:
    """The id that is kept so."""
    return kept if isinstance(kept, str) else kept.hex()


class FoldedIds(MutableSet[str]):
    """A set of ids, each kept folded."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: set[Folded] = set()

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and folded(id) in self._kept

    def __iter__(self) -> Iterator[str]:
        return map(unfolded, self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, value: str) -> None:
        """The id is one of them."""
        self.add_folded(folded(value))

    def add_folded(self, kept: Folded) -> None:
        """The id that is kept so is one of them: as this very object."""
        self._kept.add(kept)

    def add_all(self, kept: Iterable[Folded]) -> None:
        """The ids that are kept so are some of them: as these very objects."""
        self._kept.update(kept)

    def discard(self, value: str) -> None:
        """The id is none of them."""
        self._kept.discard(folded(value))
