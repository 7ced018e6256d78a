"""One 128-bit number for each instance row of a shard, in pages of bytes instead of objects."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

_SIZE: Final = 16
_PER_PAGE: Final = 256


class RowShares:
    """number of an instance -> the share of its row; 16 bytes for each, freed page by page.

    Numbers grow and are never used again, so that those of neighbours go at about the same time.
    No share is 0: of keyed 128-bit hashes, none will be.
    """

    __slots__ = ("_pages", "_size", "_used")

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._used: dict[int, int] = {}
        """page -> how many of its places are taken."""
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def of(self, number: int) -> int:
        """The share; 0 when there is none."""
        page = self._pages.get(number // _PER_PAGE)
        if page is None:
            return 0
        at = number % _PER_PAGE * _SIZE
        return int.from_bytes(page[at : at + _SIZE], "big")

    def put_all(self, numbers: Sequence[int], shares: bytes) -> None:
        """These shares are there, of numbers that have none yet.

        Args:
            numbers: ascending.
        """
        start = 0
        while start < len(numbers):
            index, at = divmod(numbers[start], _PER_PAGE)
            end = bisect_left(numbers, (index + 1) * _PER_PAGE, start)
            page = self._pages.setdefault(index, bytearray(_PER_PAGE * _SIZE))
            if numbers[end - 1] - numbers[start] == end - 1 - start:
                page[at * _SIZE : (at + end - start) * _SIZE] = shares[start * _SIZE : end * _SIZE]
            else:
                for place in range(start, end):
                    at = numbers[place] % _PER_PAGE * _SIZE
                    page[at : at + _SIZE] = shares[place * _SIZE : (place + 1) * _SIZE]
            self._used[index] = self._used.get(index, 0) + end - start
            start = end
        self._size += len(numbers)

    def put(self, number: int, share: int) -> int:
        """The share is this one now, 0 for none; what it was before."""
        before = self.of(number)
        index, at = number // _PER_PAGE, number % _PER_PAGE * _SIZE
        if index not in self._pages:
            self._pages[index] = bytearray(_PER_PAGE * _SIZE)
            self._used[index] = 0
        self._pages[index][at : at + _SIZE] = share.to_bytes(_SIZE, "big")
        change = (share != 0) - (before != 0)
        self._size += change
        self._used[index] += change
        if not self._used[index]:
            del self._pages[index], self._used[index]
        return before
