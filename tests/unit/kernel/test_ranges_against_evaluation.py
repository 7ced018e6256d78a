"""With bounds in order, the index says of every call what evaluating every predicate says of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.kernel import random_matches as made
from tests.unit.kernel.test_index import Holder, record

from raysume import UsageError, limits, wait
from raysume.actors.kernel.folding import folded
from raysume.actors.kernel.index import WaitIndex
from raysume.actors.kernel.records import WaitRecord
from raysume.actors.kernel.waiters import Entry
from raysume.actors.loading import method_of
from raysume.call import Call
from raysume.matching import Parsed, evaluate
from raysume.records import CallRecord

EXAMPLES = int(os.environ.get("RAYSUME_FUZZ_EXAMPLES", "250"))


@pytest.fixture(autouse=True, scope="module")
def _all_are_placed() -> Generator[None]:  # pyright: ignore[reportUnusedFunction]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "UNPLACED_PREDICATES_MAX", 0)
        yield


def call_of(
    values: dict[str, Any],
    odd: dict[str, Any],
    output: bytes | None,
    headers: dict[str, str] | None = None,
) -> CallRecord:
    """The recorded call, some of whose fields may be of other types than the method says, or missing."""
    data = made.event.encode_input(made.event.model_of(values))
    if odd:
        raw: dict[str, Any] = msgspec.json.decode(data)
        raw |= odd
        data = msgspec.json.encode({name: raw[name] for name in raw if raw[name] != "gone"})
    return CallRecord("c", made.event.urn, "tests", 0, data, output, None, headers)


FIRST: dict[str, Any] = {
    "a": 1,
    "b": "m",
    "c": True,
    "d": None,
    "e": 1,
    "f": 1.5,
    "amount": Decimal("1.5"),
    "day": made.VARIABLES["day"],
    "at": made.AT,
    "span": made.VARIABLES["span"],
    "ref": made.REF,
    "raw": b"",
    "colour": made.Colour.RED,
    "level": made.Level.LOW,
    "tone": made.Tone.LOUD,
    "order": made.Order(id=2),
    "spot": made.Spot(1, 0.5),
    "data": {},
    "either": 1,
}
VARIABLES: dict[str, Any] = made.VARIABLES | {
    "zero": 0,
    "two": 2,
    "zoned": made.AT.astimezone(ZoneInfo("Europe/Berlin")),
    "inf": float("inf"),
    "dec_nan": Decimal("NaN"),
    "first": Call.of(call_of(FIRST, {}, b'{"code": 2}'), made.event),
}

# --- matches ---------------------------------------------------------------------

_paths = st.sampled_from(
    [
        *(f"call.input.{path}" for path in made.FIELDS),
        *("call.input.a", "call.input.d", "call.input.f", "call.input.amount", "call.input.e"),
        *("call.output", "call.output.code", "call.output.note", "call.headers['h']", "call.id"),
    ]
)
_bounds = st.sampled_from(
    [
        *VARIABLES,
        *("0", "1", "2", "True", "0.5", "-1", "'x'", "None", "-half", "one + 1", "two * half"),
        *("first.input.a", "first.input.amount", "first.input.d", "first.input.e", "first.output"),
        *("first.output.code", "first.input.order.id", "first.input.order.tag", "dec + 1"),
        *("box[0]", "mine.id", "missing", "one / 0", "text + 'a'", "call.input.f", "at - span"),
    ]
)
FITTING = {
    "a": "zero one two true half dec inf nan first.input.a",
    "d": "one two half dec",
    "e": "one half text none",
    "f": "half one two inf nan first.input.f",
    "amount": "dec dec_half one first.input.amount",
    "b": "text shout composed first.input.b",
    "day": "day first.input.day",
    "at": "at elsewhere zoned first.input.at",
    "span": "span first.input.span",
    "order.id": "one two first.input.order.id",
}
_operators = st.sampled_from(["<", "<=", ">", ">="])
_fitting = st.sampled_from(
    [(f"call.input.{f}", b) for f, bs in FITTING.items() for b in bs.split()]
)
Pair = tuple[str, str]
"""A path, and a bound that fits it."""


def _fitted(two: Pair, op: str) -> str:
    return f"{two[0]} {op} {two[1]}"


def _forwards(path: str, op: str, bound: str) -> str:
    return f"{path} {op} {bound}"


def _backwards(path: str, op: str, bound: str) -> str:
    return f"{bound} {op} {path}"


def _between(two: Pair, low: str, op: str, other: str) -> str:
    return f"{low} {op} {two[0]} {other} {two[1]}"


def _twice(two: Pair, op: str, joined: str, other: str, second: str) -> str:
    return f"{two[0]} {op} {two[1]}{joined}{two[0]} {other} {second}"


_compared = st.one_of(
    *[st.builds(_fitted, _fitting, _operators)] * 3,
    st.builds(_forwards, _paths, _operators, _bounds),
    st.builds(_backwards, _paths, _operators, _bounds),
    st.builds(_between, _fitting, _bounds, _operators, _operators),
)
_guards = st.sampled_from(
    [
        *(
            "call.output is not None",
            "call.input.c",
            "not call.input.c",
            "call.input.d is not None",
        ),
        *("call.input.order.parent is not None", "call.input.a != 1", "call.input.b != 'x'"),
        *("call.input.e > 0", "call.input.data", "call.input.data['k'] == 1", "call.input.d"),
        *("(call.input.c or call.input.a > 1)", "call.input.day.year > 1", "one", "call.input.e"),
        *("call.input.f", "call.headers", "call.input.d < 1", "call.input.order.parent.id > 0"),
    ]
)
_rest = st.one_of(_compared, _guards, made.atoms)
_expressions = st.one_of(
    _compared,
    st.builds(lambda *of: " and ".join(of), _compared, _rest),
    st.builds(
        _twice,
        *(_fitting, _operators, st.sampled_from([" and ", " and ", " and one and "])),
        *(_operators, _bounds),
    ),
    st.builds(lambda *of: " and ".join(of), _guards, _compared),
    st.builds(lambda *of: " and ".join(of), _guards, _guards, _compared),
    st.builds(lambda *of: " and ".join(of), _rest, _compared, _rest),
    st.builds(lambda *of: f"({of[0]} and {of[1]}) and {of[2]}", _guards, _compared, _rest),
    st.builds(lambda *of: f"({of[0]}) & ({of[1]})", _compared, _rest),
    st.builds(lambda *of: f"{of[0]} or {of[1]}", _compared, _rest),
    st.builds(lambda *of: f"not ({of[0]}) and {of[1]}", _compared, _compared),
    st.builds(lambda *of: f"({of[0]} if {of[1]} else {of[2]})", _compared, _guards, _compared),
    made.expressions,
)

# --- calls -----------------------------------------------------------------------

_ODD_VALUES: list[Any] = [
    *(None, "x", "1", 1, 1.0, 1.5, True, [], {}, "NaN", "2024-03-01", "gone"),
]
_odd: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["a", "d", "e", "f", "amount", "b", "at", "order", "data", "either"]),
    st.sampled_from(_ODD_VALUES),
    max_size=1,
)
_calls = st.builds(call_of, made.inputs, _odd, made.outputs, made.headers)
_fitting_calls = st.builds(call_of, made.inputs, st.just(cast(dict[str, Any], {})), made.outputs)

# --- the index -------------------------------------------------------------------


def bound(expression: str, number: int) -> WaitRecord | None:
    """The wait as it is stored; None: it has a key, or is refused."""
    variables = VARIABLES | {
        "flags": [True, 0, None],
        "box": [1],
        "mine": made.Order(id=1),
        "zero": 0,
    }
    try:
        found = record(
            wait(made.event).match_if(made.lambda_of(expression, variables)),
            f"{number}.1",
            order=number + 1,
        )
    except UsageError:
        return None
    return None if found.keys else found


@dataclass
class Waiting:
    """Waits in an index, each of a holder of its own, which may be packed."""

    index: WaitIndex = field(default_factory=lambda: WaitIndex(method_of))
    records: dict[str, WaitRecord] = field(default_factory=dict[str, WaitRecord])
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    woken: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        self.index.wake = self.wake

    def wake(self, ids: Collection[str]) -> None:
        for id in ids:
            self.woken.add(id)
            waits = [
                msgspec.msgpack.decode(msgspec.msgpack.encode(self.records[id]), type=WaitRecord)
            ]
            [self.entries[id]] = self.index.unpack(folded(id), Holder(id), waits).values()

    def add(self, wait: WaitRecord, *, packed: bool) -> None:
        id = f"wait-{wait.order:04}"
        self.records[id] = wait
        if packed:
            self.index.add_packed(folded(id), [wait])
        else:
            self.entries[id] = self.index.add(Holder(id), wait)

    def pack(self, id: str) -> None:
        if id in self.entries:
            self.index.pack(folded(id), [self.entries.pop(id)])

    def remove(self, id: str) -> None:
        if id not in self.entries:
            self.wake([id])
        self.index.remove(self.entries.pop(id))
        del self.records[id]

    def found(self, call: CallRecord) -> tuple[list[str], list[tuple[str, str]]]:
        """Who met the call, and for whom what was raised."""
        met, failures = self.index.find(Parsed(call, made.event))
        told = [(one.entry.holder.id, repr(one.error)) for one in failures]
        return [entry.holder.id for entry in met], told

    def expected(self, call: CallRecord) -> tuple[list[str], list[tuple[str, str]]]:
        """The same, by evaluating every predicate."""
        met: list[str] = []
        failures: list[tuple[str, str]] = []
        for id, stored in sorted(self.records.items()):
            assert stored.predicate is not None
            try:
                if evaluate(stored.predicate, Call.of(call, made.event)):
                    met.append(id)
            except Exception as error:
                failures.append((id, repr(error)))
        return met, failures

    def differences(self, call: CallRecord) -> list[Any]:
        """What the index says, and what it should; empty when they are the same."""
        packed = set(self.records) - set(self.entries)
        self.woken.clear()
        found, expected = self.found(call), self.expected(call)
        touched = {*expected[0], *(id for id, _ in expected[1])}
        if found == expected and self.woken == packed & touched:
            return []
        return [call, found, expected, self.woken, packed]


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="RAYSUME_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    st.lists(st.tuples(_expressions, st.booleans()), min_size=1, max_size=8),
    st.lists(st.one_of(_fitting_calls, _calls), min_size=3, max_size=8),
    st.sets(st.integers(0, 7)),
    st.sets(st.integers(0, 7)),
)
def test_the_index_says_what_evaluating_every_predicate_says(
    asked: list[tuple[str, bool]],
    calls: list[CallRecord],
    packing: set[int],
    leaving: set[int],
) -> None:
    waiting = Waiting()
    for number, (expression, packed) in enumerate(asked):
        stored = bound(expression, number)
        if stored is not None:
            waiting.add(stored, packed=packed)
    ids = list(waiting.records)
    assert [waiting.differences(call) for call in calls if waiting.differences(call)] == []
    for number in packing:
        waiting.pack(ids[number % len(ids)] if ids else "")
    assert [said for call in calls for said in waiting.differences(call)] == []
    for id in {ids[number] for number in leaving if number < len(ids)}:
        waiting.remove(id)
    assert len(waiting.index) == len(waiting.records)
    assert [said for call in calls for said in waiting.differences(call)] == []
    for id in list(waiting.records):
        waiting.remove(id)
    assert waiting.index.methods == frozenset()


_KINDS: list[list[Any]] = [
    [0, 1, 2, 3, True, -1, 1 << 70, 0.5, 1.0, 2.5, float("inf"), Decimal(1), Decimal("0.5")],
    ["", "x", "X", made.COMPOSED, "xx"],
    [made.AT, made.ELSEWHERE, VARIABLES["zoned"], VARIABLES["naive"], VARIABLES["day"]],
]


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(
    st.sampled_from(["a", "d", "e", "f", "amount", "b", "at", "day"]),
    st.lists(
        st.tuples(
            _operators, st.sampled_from([value for kind in _KINDS for value in kind]), st.booleans()
        ),
        min_size=2,
        max_size=30,
    ),
    st.lists(st.one_of(_fitting_calls, _calls), min_size=3, max_size=8),
)
def test_many_bounds_of_one_path_let_the_same_calls_pass_as_the_comparisons(
    name: str, bounds: list[tuple[str, Any, bool]], calls: list[CallRecord]
) -> None:
    waiting = Waiting()
    compare: dict[str, Any] = {
        operator: made.lambda_of(f"call.input.{name} {operator} limit", {"limit": None})
        for operator in ("<", "<=", ">", ">=")
    }
    for number, (operator, limit, packed) in enumerate(bounds):
        compare[operator].__closure__[0].cell_contents = limit
        stored = record(wait(made.event).match_if(compare[operator]), order=number + 1)
        waiting.add(stored, packed=packed)
    assert [said for call in calls for said in waiting.differences(call)] == []
    for id in list(waiting.records)[::2]:
        waiting.remove(id)
    assert [said for call in calls for said in waiting.differences(call)] == []
