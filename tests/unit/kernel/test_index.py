"""From a call to the waits that it meets."""

from __future__ import annotations

from typing import Any

import msgspec
from tests.unit.kernel.bench import call, one, two

from raysume import wait
from raysume.actors.kernel.folding import folded
from raysume.actors.kernel.index import WaitIndex
from raysume.actors.kernel.records import WaitRecord
from raysume.actors.kernel.waiters import Entry, holders_in
from raysume.actors.loading import method_of
from raysume.matching import Parsed, bind, predicates
from raysume.waits import Wait


class Holder:
    """Somebody who waits."""

    def __init__(self, id: str) -> None:
        self.id = id


def record(waiting: Wait[Any], id: str = "1.1", *, order: int = 0) -> WaitRecord:
    bound = bind(waiting)
    return WaitRecord(
        id=id,
        method=bound.method,
        shape=bound.shape,
        keys=bound.keys,
        predicate=bound.predicate,
        name=None,
        looks_back=False,
        since_us=None,
        order=order,
    )


def met(index: WaitIndex, method: Any, **input: Any) -> list[Entry]:
    item = call(method, 1, **input)
    found, failures = index.find(Parsed(item.call))
    assert failures == []
    return found


def test_a_call_is_found_by_its_key() -> None:
    index = WaitIndex(method_of)
    entries = [index.add(Holder(key), record(wait(one).match(key=key))) for key in "abc"]
    assert met(index, one, key="b") == [entries[1]]
    assert met(index, one, key="d") == []
    assert met(index, two, key="b") == []


def test_a_wait_with_several_keys_is_found_by_each() -> None:
    index = WaitIndex(method_of)
    keys = ("a", "b")
    entry = index.add(Holder("x"), record(wait(one).match_if(lambda call: call.input.key in keys)))
    assert len(entry.wait.keys) == 2
    assert [met(index, one, key=key) for key in "abc"] == [[entry], [entry], []]
    index.remove(entry)
    assert met(index, one, key="a") == []
    assert len(index) == 0


def test_shapes_and_methods_that_nobody_uses_are_freed() -> None:
    index = WaitIndex(method_of)
    by_key = [index.add(Holder(k), record(wait(one).match(key=k))) for k in "ab"]
    by_n = index.add(Holder("c"), record(wait(one).match(n=3)))
    keyless = index.add(Holder("d"), record(wait(two).match_any()))
    assert sorted(index.shapes_of(one.urn)) == [("input.key",), ("input.n",)]
    index.remove(by_key[0])
    assert len(index.shapes_of(one.urn)) == 2
    index.remove(by_key[1])
    assert index.shapes_of(one.urn) == [("input.n",)]
    index.remove(by_n)
    index.remove(keyless)
    assert index.methods == frozenset()
    again = index.add(Holder("a"), record(wait(one).match(key="a")))
    assert met(index, one, key="a") == [again]


def test_equal_predicates_without_key_are_evaluated_once() -> None:
    class Counting:
        def __init__(self) -> None:
            self.count = 0

        def __call__(self, _call: Any) -> bool:
            self.count += 1
            return True

    counting = Counting()
    index = WaitIndex(method_of)
    waits = [msgspec.structs.replace(record(wait(one).match_any()), predicate=b"p")] * 2
    entries = [
        index.add(Holder(name), one_wait) for name, one_wait in zip("xy", waits, strict=True)
    ]
    loaded: dict[int, Any] = predicates._loaded  # pyright: ignore[reportPrivateUsage]
    loaded[id(waits[0].predicate)] = (waits[0].predicate, counting)
    assert met(index, one) == entries
    assert counting.count == 1


def test_whoever_waits_longest_comes_first() -> None:
    index = WaitIndex(method_of)
    shapes = [wait(one).match(key="a"), wait(one).match_any(), wait(one).match(n=1)]
    entries = [index.add(Holder(str(n)), record(w, order=n)) for n, w in enumerate(shapes)]
    assert met(index, one, key="a", n=1) == entries
    index.remove(entries[0])
    late = index.add(Holder("late"), record(shapes[0], order=3))
    assert met(index, one, key="a", n=1) == [entries[1], entries[2], late]


def test_a_predicate_that_raises_skips_its_wait_only() -> None:
    index = WaitIndex(method_of)
    bad = index.add(Holder("bad"), record(wait(one).match_if(lambda call: 1 / call.input.n > 0)))
    good = index.add(Holder("good"), record(wait(one).match_any()))
    item = call(one, 1, key="a", n=0)
    found, failures = index.find(Parsed(item.call))
    assert found == [good]
    assert [failure.entry for failure in failures] == [bad]
    assert isinstance(failures[0].error, ZeroDivisionError)


def test_holders_without_a_key_are_known_by_method_packed_or_not() -> None:
    index = WaitIndex(method_of)
    index.add(Holder("keyed"), record(wait(one).match(key="a")))
    entry = index.add(Holder("first"), record(wait(one).match_any()))
    index.add(Holder("second"), record(wait(one).match_any()))
    index.add(Holder("other"), record(wait(two).match_if(lambda call: call.input.n > 1)))
    assert holders_in(index.without_key()) == {"first", "second", "other"}
    assert holders_in(index.without_key(one.urn)) == {"first", "second"}
    assert holders_in(index.without_key("nothing")) == set()
    index.pack(folded("first"), [entry])
    assert holders_in(index.without_key(one.urn)) == {"first", "second"}
