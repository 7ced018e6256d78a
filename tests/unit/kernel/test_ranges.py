"""Which predicates of waits without a key are evaluated for a call."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Generator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.kernel.bench import Bench, begun, call, one
from tests.unit.kernel.test_index import Holder, record

from raysume import Depends, limits, wait, workflow
from raysume.actors.kernel import ranges
from raysume.actors.kernel.folding import folded
from raysume.actors.kernel.index import WaitIndex
from raysume.actors.kernel.ranges import KeylessPredicates, SortedValues
from raysume.actors.loading import method_of
from raysume.matching import Parsed, bind
from raysume.waits import Wait


@pytest.fixture(autouse=True, scope="module")
def _all_are_placed() -> Generator[None]:  # pyright: ignore[reportUnusedFunction]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "UNPLACED_PREDICATES_MAX", 0)
        patch.setattr(ranges, "CHUNK_MAX", 4)
        yield


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=80), st.integers(-1, 41))
def test_sorted_values_are_those_of_a_sorted_list(
    changes: list[tuple[int, bool]], value: int
) -> None:
    values, plain = SortedValues(), list[int]()
    for changed, coming in changes:
        if coming and changed not in plain:
            values.add(changed)
            plain = sorted([*plain, changed])
        elif not coming and changed in plain:
            values.remove(changed)
            plain.remove(changed)
    assert list(values) == plain
    left, right = bisect_left(plain, value), bisect_right(plain, value)
    assert list(values.below(value, inclusive=False)) == plain[:left]
    assert list(values.below(value, inclusive=True)) == plain[:right]
    assert list(values.above(value, inclusive=False)) == plain[right:]
    assert list(values.above(value, inclusive=True)) == plain[left:]


def parsed(n: object) -> Parsed:
    """A call with this `n`."""
    return Parsed(call(one, 1, n=n).call, one)


def wait_above(limit: int) -> Wait[Any]:
    """A wait with this bound."""
    return wait(one).match_if(lambda call: call.input.n > limit)


def above(limit: int) -> bytes:
    """A predicate with this bound."""
    predicate = bind(wait_above(limit)).predicate
    assert predicate is not None
    return predicate


def containing(key: str) -> bytes | None:
    """A predicate whose bound others have, too."""
    return bind(
        wait(one).match_if(lambda call: call.input.n > 3 and key in call.input.key)
    ).predicate


def between(low: int) -> bytes | None:
    """A predicate with two bounds."""
    return bind(wait(one).match_if(lambda call: low <= call.input.n < low + 2)).predicate


def test_only_predicates_whose_bound_lets_the_value_pass_are_evaluated() -> None:
    predicates = KeylessPredicates(one)
    odd = bind(wait(one).match_if(lambda call: call.input.n % 2 > 0)).predicate
    known: dict[bytes | None, int] = {above(limit): limit for limit in range(20)}
    for predicate in (odd, *known, None):
        predicates.add(predicate)
    found = predicates.met_by(parsed(3))
    assert {known.get(predicate) for predicate in found} == {0, 1, 2, None}
    assert {odd, None} <= set(found)
    assert len(found) == 5
    assert len(predicates.met_by(parsed("odd"))) == 22, "all raise"
    for predicate in known:
        predicates.discard(predicate)
    assert predicates.met_by(parsed(3)) == [None, odd]


def test_few_new_predicates_are_evaluated_without_looking_at_their_bounds() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "UNPLACED_PREDICATES_MAX", 2)
        predicates = KeylessPredicates(one)
        for limit in (5, 6):
            predicates.add(above(limit))
        assert len(predicates.met_by(parsed(3))) == 2
        predicates.add(above(7))
        assert predicates.met_by(parsed(3)) == []
        assert predicates.met_by(parsed(6)) == [above(5)]


def test_predicates_with_one_bound_are_told_apart() -> None:
    predicates = KeylessPredicates(one)
    some = [containing(key) for key in "abc"]
    for each in some:
        predicates.add(each)
    assert predicates.met_by(parsed(3)) == []
    assert set(predicates.met_by(parsed(4))) == set(some)
    predicates.discard(some[1])
    assert set(predicates.met_by(parsed(4))) == {some[0], some[2]}
    for each in (some[0], some[2]):
        predicates.discard(each)
    assert predicates.met_by(parsed(4)) == []


def test_a_second_bound_rules_out_as_the_first_one_does() -> None:
    predicates = KeylessPredicates(one)
    known = {between(low): low for low in range(20)}
    for predicate in known:
        predicates.add(predicate)
    assert [known[each] for each in predicates.met_by(parsed(7))] == [6, 7]
    assert len(predicates.met_by(parsed(None))) == 20, "all raise"
    for predicate in known:
        predicates.discard(predicate)
    assert predicates.met_by(parsed(7)) == []


def test_predicates_go_with_their_last_wait_and_stay_in_order_when_it_is_packed() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "UNPLACED_PREDICATES_MAX", 3)
        index = WaitIndex(method_of)
        entries = [
            index.add(
                Holder(f"holder-{limit}"),
                record(wait_above(limit)),
            )
            for limit in (5, 6, 7, 8)
        ]
        of_method = index._by_method[one.urn]  # pyright: ignore[reportPrivateUsage]
        predicates = of_method.keyless.predicates
        assert predicates.met_by(parsed(6)) == [entries[0].wait.predicate]
        index.pack(folded("holder-6"), [entries[1]])
        [entry] = index.unpack(folded("holder-6"), Holder("holder-6"), [entries[1].wait]).values()
        assert predicates.met_by(parsed(5)) == [], "nothing is new"
        for each in (entries[0], entry):
            index.remove(each)
        assert predicates.met_by(parsed(7)) == []
        assert predicates.met_by(parsed(8)) == [entries[2].wait.predicate]


def test_failures_are_told_of_whoever_waits_longest_first() -> None:
    index = WaitIndex(method_of)
    for place, limit in enumerate((7, 1, 5)):
        index.add(Holder(str(limit)), record(wait_above(limit), order=10 - place))
    met, failures = index.find(parsed(None))
    assert met == []
    assert [failure.entry.holder.id for failure in failures] == ["5", "1", "7"]


def ended(bench: Bench, n: int) -> list[Any]:
    """What instances returned that the call ended."""
    return [value for _, value in bench.push(one, key="k", n=n).results]


def test_a_variable_around_a_workflow_may_change_while_it_is_waited() -> None:
    limit = 5

    @workflow
    async def surrounded() -> int:
        await wait(begun).match_any()
        return (await wait(one).match_if(lambda call: call.input.n > limit)).input.n

    bench = Bench(surrounded)
    bench.push(begun, key="k")
    assert ended(bench, 3) == []
    limit = 2
    assert ended(bench, 3) == [3]


LIMITS = [Decimal(5)]


@workflow
async def limited(limit: Decimal = Depends(lambda: LIMITS[-1])) -> int:
    """Waits for what is above a limit that is made anew whenever it is asked for."""
    await wait(begun).match_any()
    return (await wait(one).match_if(lambda call: call.input.n > limit)).input.n


def test_a_given_value_may_be_another_one_the_next_time() -> None:
    bench = Bench(limited)
    bench.push(begun, key="k")
    assert ended(bench, 3) == []
    [instance] = list(bench.kernel.instances.values())
    [stored] = instance.record().waits
    assert stored.predicate is not None
    LIMITS.append(Decimal(2))
    predicates = KeylessPredicates(one)
    predicates.add(stored.predicate)
    assert predicates.met_by(parsed(3)) == [stored.predicate]
    assert predicates.met_by(parsed(1)) == [stored.predicate]


@workflow
async def patient() -> int:
    """Waits for more than it began with."""
    first = await wait(begun).match_any()
    return (await wait(one).match_if(lambda call: call.input.n > first.input.n)).input.n


def test_only_holders_whose_bound_lets_the_value_pass_are_woken() -> None:
    bench = Bench(patient, loaded_instances=0)
    for n in range(20):
        bench.push(begun, key="k", n=n)
    assert bench.kernel.instances.packed == 20
    assert ended(bench, 3) == [3, 3, 3]
    assert bench.kernel.instances.packed == 17
    bench.restart()
    assert ended(bench, 5) == [5, 5]
    assert bench.kernel.instances.packed == 15
