"""The index of waits: from a call to the waits that it meets, whatever their number.

(method, shape) -> key -> waits. A call costs one dictionary look-up for each shape of its
method. Waits without a key are grouped by predicate, so that each distinct predicate is
evaluated once for each call; of those that begin with a comparison with a bound only the ones
that the call's value may meet (see `ranges`).

Of a holder that is packed or cold (see `residents`) only the id stands under the keys of its waits;
it is woken when a call has one of these keys.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from raysume.actors.kernel.folding import Folded
from raysume.actors.kernel.ranges import KeylessPredicates
from raysume.actors.kernel.records import WaitRecord
from raysume.actors.kernel.waiters import Entry, Holder, Waiters, Waiting, ids_in
from raysume.call import Call
from raysume.errors import InvariantViolated
from raysume.matching import Parsed, evaluate, extractor
from raysume.methods import Method


@dataclass(slots=True)
class Failure:
    """A predicate that raised for a call; its wait was skipped."""

    entry: Entry
    error: Exception


K = TypeVar("K")


class _Shape:
    """The waits of one method that share the same key paths."""

    __slots__ = ("extract", "waiting")

    def __init__(self, extract: Callable[[Parsed], bytes | None]) -> None:
        self.extract = extract
        self.waiting: Waiters[bytes] = Waiters()


class _Keyless:
    """The waits of one method that have no key, by predicate."""

    __slots__ = ("predicates", "waiting")

    def __init__(self, method: Method) -> None:
        self.waiting: Waiters[bytes | None] = Waiters()
        self.predicates = KeylessPredicates(method)

    def put(self, predicate: bytes | None, one: Entry | Folded) -> None:
        if self.waiting.put(predicate, one):
            self.predicates.add(predicate)

    def drop(self, predicate: bytes | None, one: Entry | Folded) -> None:
        if self.waiting.drop(predicate, one):
            self.predicates.discard(predicate)


class _MethodWaits:
    __slots__ = ("keyless", "method", "shapes")

    def __init__(self, method: Method) -> None:
        self.method = method
        self.shapes: dict[tuple[str, ...], _Shape] = {}
        self.keyless = _Keyless(method)

    @property
    def is_empty(self) -> bool:
        return not self.shapes and not self.keyless.waiting


def _nobody(ids: Collection[str]) -> object:
    raise InvariantViolated(f"{', '.join(ids)}: asleep, and nobody can wake them")


class WaitIndex:
    """All open waits of the shards of one pool, and its standing first wait.

    Shapes and keys that nobody uses any more are freed at once.
    """

    def __init__(self, methods: Callable[[str], Method]) -> None:
        self._methods = methods
        self._by_method: dict[str, _MethodWaits] = {}
        self._order = 0
        self._size = 0
        self.wake: Callable[[Collection[str]], object] = _nobody
        """Makes packed holders be there again, with `unpack`."""

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

    def without_key(self, method: str | None = None) -> list[Waiting]:
        """Who waits without a key, by predicate, for one method or for all: see `holders_in`."""
        of = self._by_method.values() if method is None else (self._by_method.get(method),)
        return [there for one in of if one for there in one.keyless.waiting.everybody()]

    # --- waits come and go -------------------------------------------------------

    def add(self, holder: Holder, wait: WaitRecord) -> Entry:
        """The wait is found by calls from now on."""
        self._order += 1
        entry = Entry(holder, wait, wait.order or self._order)
        self._put(wait, entry)
        self._size += 1
        return entry

    def remove(self, entry: Entry) -> None:
        """The wait is found no more."""
        wait = entry.wait
        self._size -= 1
        waits = self._by_method[wait.method]
        if wait.keys:
            shape = waits.shapes[wait.shape]
            for key in wait.keys:
                shape.waiting.drop(key, entry)
            if shape.waiting:
                return
            del waits.shapes[wait.shape]
        else:
            waits.keyless.drop(wait.predicate, entry)
        if waits.is_empty:
            del self._by_method[wait.method]

    def add_packed(self, kept: Folded, waits: Iterable[WaitRecord]) -> None:
        """All waits of a holder, which is found by its id alone from the beginning.

        Args:
            kept: its id; the very object that others keep, too.
        """
        for wait in waits:
            self._put(wait, kept)
            self._size += 1

    def add_sleeping(
        self, method: str, shape: tuple[str, ...], keys: Sequence[bytes], kept: Sequence[Folded]
    ) -> None:
        """Holders with one wait for the method, each under one key; found by their ids alone.

        Args:
            kept: see `add_packed`.
        """
        self._shape_of(method, shape).waiting.put_all(keys, kept)
        self._size += len(keys)

    def drop_sleeping(
        self, method: str, shape: tuple[str, ...], keys: Iterable[bytes], kept: Iterable[Folded]
    ) -> None:
        """These holders, which were added so (see `add_sleeping`) and sleep, wait no more."""
        waits = self._by_method[method]
        waiting = waits.shapes[shape].waiting
        for key, one in zip(keys, kept, strict=True):
            waiting.drop(key, one)
            self._size -= 1
        if not waiting:
            del waits.shapes[shape]
        if waits.is_empty:
            del self._by_method[method]

    def pack(self, kept: Folded, entries: Iterable[Entry]) -> None:
        """All waits of a holder, which is found by its id alone from now on (see `add_packed`)."""
        for entry in entries:
            wait = entry.wait
            waits = self._by_method[wait.method]
            if wait.keys:
                waiting = waits.shapes[wait.shape].waiting
                for key in wait.keys:
                    waiting.exchange(key, entry, kept)
            else:
                waits.keyless.put(wait.predicate, kept)  # first, so that it stays in its place
                waits.keyless.drop(wait.predicate, entry)

    def unpack(self, kept: Folded, holder: Holder, waits: Iterable[WaitRecord]) -> dict[str, Entry]:
        """All waits of a holder that was packed as `kept`; the entries by wait."""
        found: dict[str, Entry] = {}
        for wait in waits:
            entry = found[wait.id] = Entry(holder, wait, wait.order)
            of_method = self._by_method[wait.method]
            if wait.keys:
                waiting = of_method.shapes[wait.shape].waiting
                for key in wait.keys:
                    waiting.exchange(key, kept, entry)
            else:
                of_method.keyless.put(wait.predicate, entry)  # first, as in `pack`
                of_method.keyless.drop(wait.predicate, kept)
        return found

    def _put(self, wait: WaitRecord, one: Entry | Folded) -> None:
        if not wait.keys:
            self._waits_for(wait.method).keyless.put(wait.predicate, one)
            return
        waiting = self._shape_of(wait.method, wait.shape).waiting
        for key in wait.keys:
            waiting.put(key, one)

    def _waits_for(self, method: str) -> _MethodWaits:
        waits = self._by_method.get(method)
        if waits is None:
            waits = self._by_method[method] = _MethodWaits(self._methods(method))
        return waits

    def _shape_of(self, method: str, shape: tuple[str, ...]) -> _Shape:
        waits = self._waits_for(method)
        found = waits.shapes.get(shape)
        if found is None:
            found = waits.shapes[shape] = _Shape(extractor(waits.method, shape))
        return found

    # --- calls look for them -----------------------------------------------------

    def find(self, parsed: Parsed) -> tuple[list[Entry], list[Failure]]:
        """The waits that the call fits, longest waiting first."""
        waits = self._by_method.get(parsed.record.method)
        if waits is None:
            return [], []
        met: list[Entry] = []
        failures: list[Failure] = []
        verdicts: dict[bytes | None, bool | Exception] = {None: True}
        for shape in [*waits.shapes.values()]:
            key = shape.extract(parsed)
            there = None if key is None else shape.waiting.under(key)
            if key is None or there is None:
                continue
            for entry in (there,) if isinstance(there, Entry) else self._woken(shape.waiting, key):
                predicate = entry.wait.predicate
                if predicate is None:
                    met.append(entry)
                else:
                    _judge(parsed, predicate, (entry,), verdicts, met, failures)
        keyless = waits.keyless
        if keyless.waiting:
            for predicate in keyless.predicates.met_by(parsed):
                if _verdict(parsed, predicate, verdicts) is not False:
                    entries = self._woken(keyless.waiting, predicate)
                    _judge(parsed, predicate, entries, verdicts, met, failures)
        if len(met) > 1:
            met.sort(key=lambda entry: entry.order)
        if len(failures) > 1:
            failures.sort(key=lambda failure: failure.entry.order)
        return met, failures

    def asleep(self, parsed: Parsed) -> Iterator[str]:
        """The ids of packed holders that `find` would wake for a key of the call."""
        waits = self._by_method.get(parsed.record.method)
        if waits is None:
            return
        for shape in waits.shapes.values():
            key = shape.extract(parsed)
            if key is not None:
                yield from ids_in(shape.waiting.under(key))

    def entries_for(self, parsed: Parsed) -> Iterator[Entry]:
        """All waits for the call's method, those whose key equals the call's first."""
        waits = self._by_method.get(parsed.record.method)
        if waits is None:
            return
        first: set[int] = set()
        for shape in list(waits.shapes.values()):
            key = shape.extract(parsed)
            if key is not None:
                for entry in self._woken(shape.waiting, key):
                    first.add(id(entry))
                    yield entry
        for predicate in list(waits.keyless.waiting):
            yield from self._woken(waits.keyless.waiting, predicate)
        for shape in list(waits.shapes.values()):
            for key in list(shape.waiting):
                for entry in self._woken(shape.waiting, key):
                    if id(entry) not in first:
                        first.add(id(entry))
                        yield entry

    def _woken(self, waiting: Waiters[K], key: K) -> Collection[Entry]:
        """The entries under the key; whoever is packed there has been woken."""
        there = waiting.under(key)
        if there is None:
            return ()
        if isinstance(there, Entry):
            return (there,)
        asleep = ids_in(there)
        if asleep:
            self.wake(asleep)
            there = waiting.under(key)
        if isinstance(there, Entry):
            return (there,)
        return [one for one in there or () if isinstance(one, Entry)]


def _judge(
    parsed: Parsed,
    predicate: bytes | None,
    entries: Collection[Entry],
    verdicts: dict[bytes | None, bool | Exception],
    met: list[Entry],
    failures: list[Failure],
) -> None:
    verdict = _verdict(parsed, predicate, verdicts)
    if isinstance(verdict, Exception):
        failures.extend(Failure(entry, verdict) for entry in entries)
    elif verdict:
        met.extend(entries)


def _verdict(
    parsed: Parsed, predicate: bytes | None, verdicts: dict[bytes | None, bool | Exception]
) -> bool | Exception:
    known = verdicts.get(predicate)
    if known is None:
        assert predicate is not None
        known = verdicts[predicate] = verdict_of(predicate, parsed.call)
    return known


def verdict_of(predicate: bytes, call: Call[object, object]) -> bool | Exception:
    """Whether the predicate holds for the call, or what it raised."""
    try:
        return bool(evaluate(predicate, call))
    except Exception as error:
        return error
