"""Predicates of waits without a key: which of them have to be evaluated for a call.

Those that begin with a comparison with a bound are grouped by what is compared (see
`raysume.matching.ranges`), and kept in the order of their bounds: only those are evaluated whose
bound is on the right side of the call's value. All others are evaluated for every call.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort_left
from collections.abc import Iterator
from itertools import chain
from operator import itemgetter
from typing import Any, Final, assert_never

from raysume import limits
from raysume.matching import Parsed
from raysume.matching.ranges import (
    ANY,
    HOLDS,
    NONE,
    Bound,
    Range,
    range_of,
    range_reader,
)
from raysume.methods import Method

Predicate = bytes | None
"""None holds for every call."""

CHUNK_MAX: Final = 1_000
"""Values in one list of `SortedValues`: adding one moves half a list and half the list of lists."""


class SortedValues:
    """Values of one total order, each once.

    A list of sorted lists: that the time of a change does not grow with the number of values.
    """

    __slots__ = ("_chunks",)

    def __init__(self) -> None:
        self._chunks: list[list[Any]] = []

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self._chunks)

    def add(self, value: Any) -> None:
        """The value, which is not there yet, is."""
        chunks = self._chunks
        if not chunks:
            chunks.append([value])
            return
        place = min(self._chunk_of(value), len(chunks) - 1)
        chunk = chunks[place]
        insort_left(chunk, value)
        if len(chunk) > CHUNK_MAX:
            middle = len(chunk) // 2
            chunks.insert(place + 1, chunk[middle:])
            del chunk[middle:]

    def remove(self, value: Any) -> None:
        """The value, which is there, is no more."""
        place = self._chunk_of(value)
        chunk = self._chunks[place]
        del chunk[bisect_left(chunk, value)]
        if not chunk:
            del self._chunks[place]

    def below(self, value: Any, *, inclusive: bool) -> Iterator[Any]:
        """Those that are less, or equal if `inclusive`."""
        last = self._chunk_of(value)
        yield from chain.from_iterable(self._chunks[:last])
        if last < len(self._chunks):
            chunk = self._chunks[last]
            yield from chunk[: (bisect_right if inclusive else bisect_left)(chunk, value)]

    def above(self, value: Any, *, inclusive: bool) -> Iterator[Any]:
        """Those that are more, or equal if `inclusive`."""
        first = self._chunk_of(value)
        if first < len(self._chunks):
            chunk = self._chunks[first]
            yield from chunk[(bisect_left if inclusive else bisect_right)(chunk, value) :]
        yield from chain.from_iterable(self._chunks[first + 1 :])

    def _chunk_of(self, value: Any) -> int:
        """The first list whose last value is not less."""
        return bisect_left(self._chunks, value, key=itemgetter(-1))


class _Bounds:
    """The predicates of one range, by their first bounds."""

    __slots__ = ("_bounds", "_operators", "_predicates", "_read", "_seconds", "_sorted")

    def __init__(self, method: Method, of: Range) -> None:
        self._operators = of.operators
        self._read = range_reader(method, of)
        self._bounds: dict[bytes, Bound] = {}
        self._predicates: dict[Bound, bytes | dict[bytes, None]] = {}
        """One alone stands under its bound without a collection around it."""
        self._sorted = SortedValues()
        self._seconds: dict[bytes, Bound] = {}
        """Second bounds, where the range has two."""

    def __bool__(self) -> bool:
        return bool(self._bounds)

    def __contains__(self, predicate: Predicate) -> bool:
        return predicate in self._bounds

    def add(self, predicate: bytes, bounds: tuple[Bound, ...]) -> None:
        """The predicate, which is not there yet, is."""
        bound = self._bounds[predicate] = bounds[0]
        if len(bounds) > 1:
            self._seconds[predicate] = bounds[1]
        there = self._predicates.get(bound)
        if there is None:
            self._predicates[bound] = predicate
            self._sorted.add(bound)
        elif isinstance(there, dict):
            there[predicate] = None
        else:
            self._predicates[bound] = {there: None, predicate: None}

    def discard(self, predicate: bytes) -> None:
        """The predicate, which is there, is no more."""
        bound = self._bounds.pop(predicate)
        self._seconds.pop(predicate, None)
        there = self._predicates[bound]
        if isinstance(there, dict) and len(there) > 1:
            del there[predicate]
        else:
            del self._predicates[bound]
            self._sorted.remove(bound)

    def met_by(self, parsed: Parsed) -> Iterator[bytes]:
        """Those that may hold for the call, or raise."""
        value = self._read(parsed)
        if value is ANY:
            return iter(self._bounds)
        if value is NONE:
            return iter(())
        first = self._first_met_by(value)
        if len(self._operators) == 1:
            return first
        holds, seconds = HOLDS[self._operators[1]], self._seconds
        return (predicate for predicate in first if holds(value, seconds[predicate]))

    def _first_met_by(self, value: Any) -> Iterator[bytes]:
        """Those whose first bound lets the value pass."""
        for bound in self._first_bounds_for(value):
            there = self._predicates[bound]
            if isinstance(there, dict):
                yield from there
            else:
                yield there

    def _first_bounds_for(self, value: Any) -> Iterator[Bound]:
        operator = self._operators[0]
        match operator:
            case ">":
                return self._sorted.below(value, inclusive=False)
            case ">=":
                return self._sorted.below(value, inclusive=True)
            case "<":
                return self._sorted.above(value, inclusive=False)
            case "<=":
                return self._sorted.above(value, inclusive=True)
            case _:
                assert_never(operator)


class KeylessPredicates:
    """The predicates of one method's waits without a key."""

    __slots__ = ("_method", "_new", "_others", "_ranges")

    def __init__(self, method: Method) -> None:
        self._method = method
        self._new: dict[Predicate, None] = {}
        """Evaluated for every call until there are more of them."""
        self._others: dict[Predicate, None] = {}
        """Evaluated for every call."""
        self._ranges: dict[Range, _Bounds] = {}

    def add(self, predicate: Predicate) -> None:
        """A wait has the predicate, which none had before."""
        self._new[predicate] = None

    def discard(self, predicate: Predicate) -> None:
        """No wait has the predicate any more."""
        for some in (self._new, self._others):
            if predicate in some:
                del some[predicate]
                return
        assert predicate is not None, "it stands among the others"
        of, bounds = next(each for each in self._ranges.items() if predicate in each[1])
        bounds.discard(predicate)
        if not bounds:
            del self._ranges[of]

    def met_by(self, parsed: Parsed) -> list[Predicate]:
        """Those that may hold for the call, or raise."""
        if len(self._new) > limits.UNPLACED_PREDICATES_MAX:
            self._place_new()
        found = [*self._others, *self._new]
        for bounds in self._ranges.values():
            found.extend(bounds.met_by(parsed))
        return found

    def _place_new(self) -> None:
        while self._new:
            self._place(next(reversed(self._new)))
            self._new.popitem()
        self._new = {}  # a dictionary that was large stays so

    def _place(self, predicate: Predicate) -> None:
        placed = None if predicate is None else range_of(predicate, self._method)
        if predicate is None or placed is None:
            self._others[predicate] = None
            return
        of, bounds = placed
        there = self._ranges.get(of)
        if there is None:
            there = self._ranges[of] = _Bounds(self._method, of)
        there.add(predicate, bounds)
