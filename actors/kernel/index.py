"""The index of waits: from a call to the waits that it meets, whatever their number.

(method, shape) -> key -> waits. A call costs one dictionary look-up for each shape of its
method. Waits without a key are grouped by predicate, so that each distinct predicate is
evaluated once for each call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from raysume.actors.kernel.records import WaitRecord
from raysume.call import Call
from raysume.matching import Parsed, evaluate, extractor
from raysume.methods import Method


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


@dataclass(slots=True)
class Failure:
    """A predicate that raised for a call; its wait was skipped."""

    entry: Entry
    error: Exception


class _Shape:
    """The waits of one method that share the same key paths."""

    __slots__ = ("extract", "keys")

    def __init__(self, extract: Callable[[Parsed], bytes | None]) -> None:
        self.extract = extract
        self.keys: dict[bytes, list[Entry]] = {}


class _MethodWaits:
    __slots__ = ("keyless", "method", "shapes")

    def __init__(self, method: Method) -> None:
        self.method = method
        self.shapes: dict[tuple[str, ...], _Shape] = {}
        self.keyless: dict[bytes | None, list[Entry]] = {}

    @property
    def is_empty(self) -> bool:
        return not self.shapes and not self.keyless


class WaitIndex:
    """All open waits of the shards of one pool, and its standing first wait.

    Shapes and keys that nobody uses any more are freed at once.
    """

    def __init__(self, methods: Callable[[str], Method]) -> None:
        self._methods = methods
        self._by_method: dict[str, _MethodWaits] = {}
        self._order = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def methods(self) -> frozenset[str]:
        """The URNs that some open wait is for."""
        return frozenset(self._by_method)

    def shapes_of(self, method: str) -> list[tuple[str, ...]]:
        """The key shapes now in use for a method."""
        waits = self._by_method.get(method)
        return [] if waits is None else list(waits.shapes)

    def add(self, holder: Holder, wait: WaitRecord) -> Entry:
        """The wait is found by calls from now on."""
        self._order += 1
        entry = Entry(holder, wait, wait.order or self._order)
        waits = self._by_method.get(wait.method)
        if waits is None:
            waits = self._by_method[wait.method] = _MethodWaits(self._methods(wait.method))
        if wait.keys:
            shape = waits.shapes.get(wait.shape)
            if shape is None:
                shape = waits.shapes[wait.shape] = _Shape(extractor(waits.method, wait.shape))
            for key in wait.keys:
                shape.keys.setdefault(key, []).append(entry)
        else:
            waits.keyless.setdefault(wait.predicate, []).append(entry)
        self._size += 1
        return entry

    def remove(self, entry: Entry) -> None:
        """The wait is found no more."""
        wait = entry.wait
        waits = self._by_method[wait.method]
        if wait.keys:
            shape = waits.shapes[wait.shape]
            for key in wait.keys:
                _drop(shape.keys, key, entry)
            if not shape.keys:
                del waits.shapes[wait.shape]
        else:
            _drop(waits.keyless, wait.predicate, entry)
        if waits.is_empty:
            del self._by_method[wait.method]
        self._size -= 1

    def candidates(self, parsed: Parsed) -> Iterator[Entry]:
        """The waits whose key, if any, equals the call's; predicates not yet evaluated."""
        waits = self._by_method.get(parsed.record.method)
        if waits is None:
            return
        for shape in waits.shapes.values():
            key = shape.extract(parsed)
            if key is not None:
                yield from shape.keys.get(key, ())
        for entries in waits.keyless.values():
            yield from entries

    def entries_for(self, parsed: Parsed) -> Iterator[Entry]:
        """All waits for the call's method, those whose key equals the call's first."""
        first = {id(entry): entry for entry in self.candidates(parsed)}
        yield from first.values()
        waits = self._by_method.get(parsed.record.method)
        for shape in () if waits is None else waits.shapes.values():
            for entries in shape.keys.values():
                for entry in entries:
                    if id(entry) not in first:
                        first[id(entry)] = entry
                        yield entry

    def find(self, parsed: Parsed, call: Call[Any, Any]) -> tuple[list[Entry], list[Failure]]:
        """The waits that the call fits, longest waiting first."""
        verdicts: dict[bytes, bool | Exception] = {}
        met: list[Entry] = []
        failures: list[Failure] = []
        for entry in self.candidates(parsed):
            predicate = entry.wait.predicate
            if predicate is not None:
                verdict = verdicts.get(predicate)
                if verdict is None:
                    verdict = verdicts[predicate] = verdict_of(predicate, call)
                if isinstance(verdict, Exception):
                    failures.append(Failure(entry, verdict))
                    continue
                if not verdict:
                    continue
            met.append(entry)
        if len(met) > 1:
            met.sort(key=lambda entry: entry.order)
        return met, failures


def verdict_of(predicate: bytes, call: Call[Any, Any]) -> bool | Exception:
    """Whether the predicate holds for the call, or what it raised."""
    try:
        return bool(evaluate(predicate, call))
    except Exception as error:
        return error


def _drop(table: dict[Any, list[Entry]], key: Any, entry: Entry) -> None:
    entries = table[key]
    entries.remove(entry)
    if not entries:
        del table[key]
