"""For random matches and random calls, the index finds exactly what plain evaluation finds."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.kernel import random_matches as made
from tests.unit.kernel.test_index import Holder, record

from raysume import UsageError, wait
from raysume.actors.kernel.index import WaitIndex
from raysume.actors.kernel.waiters import Entry
from raysume.actors.loading import method_of
from raysume.call import Call
from raysume.matching import Parsed
from raysume.records import CallRecord

EXAMPLES = int(os.environ.get("RAYSUME_FUZZ_EXAMPLES", "250"))


@dataclass(frozen=True)
class Match:
    """What one wait asks for: `.match(field=variable, ...)` and `.match_if(lambda call: text)`."""

    fields: dict[str, str]
    expression: str | None

    def plainly(self, call: Call[Any, Any]) -> bool | None:
        """Whether the call fits, evaluated as a reader would; None when that raises."""
        try:
            for path, name in self.fields.items():
                value: Any = call.input
                for part in path.split("__"):
                    value = value["k"] if part == "k" else getattr(value, part)
                if not value == made.VARIABLES[name]:  # noqa: SIM201 - equality is what is asked
                    return False
            if self.expression is None:
                return True
            return bool(_predicate(self.expression)(call))
        except Exception:
            return None

    def indexed(self, index: WaitIndex, number: int) -> Entry | None:
        """The wait in the index; the workflow's variables have changed since it was bound.

        None when it is refused: its text names what certainly does not exist.
        """
        variables = made.fresh_variables()
        built = wait(made.event).match(**{k: variables[v] for k, v in self.fields.items()})
        if self.expression is not None:
            built = built.match_if(made.lambda_of(self.expression, variables))
        elif not self.fields:
            built = built.match_any()
        try:
            bound = record(built, f"{number}.1", order=number + 1)
        except UsageError:
            return None
        made.changed(variables)
        return index.add(Holder(str(number)), bound)


@cache
def _predicate(expression: str) -> Callable[[Any], Any]:
    return made.lambda_of(expression, made.VARIABLES)


matches = st.one_of(
    made.expressions.map(lambda text: Match({}, text)),
    st.builds(Match, made.equalities, st.none()),
    st.builds(Match, made.equalities, made.expressions),
)
calls = st.tuples(made.inputs, made.outputs, made.headers)


def call_of(values: dict[str, Any], output: bytes | None, headers: dict[str, str] | None) -> Any:
    """The recorded call."""
    data = made.event.encode_input(made.event.model_of(values))
    return CallRecord("c", made.event.urn, "tests", 0, data, output, None, headers)


def differences(
    index: WaitIndex, waiting: dict[int, tuple[Match, Entry]], recorded: CallRecord
) -> list[str]:
    """What the index says of the call against plain evaluation; empty when they agree."""
    found, failures = index.find(Parsed(recorded, made.event))
    told = [int(entry.holder.id) for entry in found]
    said: list[str] = []
    for number, (match, _) in waiting.items():
        verdict = match.plainly(Call.of(recorded, made.event))
        if (number in told) != (verdict is True):
            said.append(f"{match} is {verdict} for {recorded.input!r}, found: {number in told}")
    gone = set(told) - set(waiting)
    failed = {int(failure.entry.holder.id) for failure in failures}
    if gone or told != sorted(set(told)) or failed & set(told):
        said.append(f"found {told}, removed {gone}, failed {failed}")
    return said


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="RAYSUME_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    st.lists(matches, min_size=1, max_size=6),
    st.lists(calls, min_size=3, max_size=8),
    st.sets(st.integers(0, 5)),
)
def test_the_index_finds_exactly_the_waits_that_plain_evaluation_finds(
    asked: list[Match],
    pushed: list[tuple[dict[str, Any], bytes | None, dict[str, str] | None]],
    leaving: set[int],
) -> None:
    index = WaitIndex(method_of)
    waiting: dict[int, tuple[Match, Entry]] = {}
    for number, match in enumerate(asked):
        entry = match.indexed(index, number)
        if entry is not None:
            waiting[number] = match, entry
    recorded = [call_of(*each) for each in pushed]
    assert [said for call in recorded for said in differences(index, waiting, call)] == []
    for number in leaving & set(waiting):
        index.remove(waiting.pop(number)[1])
    assert len(index) == len(waiting)
    assert [said for call in recorded for said in differences(index, waiting, call)] == []
    for _, entry in waiting.values():
        index.remove(entry)
    assert index.methods == frozenset()


@settings(max_examples=EXAMPLES // 2, deadline=None, derandomize=True)
@given(
    st.sampled_from(made.FIELDS[:20]),
    st.lists(st.sampled_from(sorted(made.VARIABLES)), min_size=2, max_size=8, unique=True),
    st.lists(calls, min_size=3, max_size=8),
)
def test_many_waits_of_one_shape_are_told_apart_as_equality_tells_them(
    field: str,
    names: list[str],
    pushed: list[tuple[dict[str, Any], bytes | None, dict[str, str] | None]],
) -> None:
    index = WaitIndex(method_of)
    waiting: dict[int, tuple[Match, Entry]] = {}
    for number, name in enumerate(names):
        match = Match({}, f"call.input.{field} == {name}")
        entry = match.indexed(index, number)
        assert entry is not None
        waiting[number] = match, entry
    recorded = [call_of(*each) for each in pushed]
    assert [said for call in recorded for said in differences(index, waiting, call)] == []


def test_the_random_calls_meet_the_random_matches_often_enough_to_show_something() -> None:
    counts = {True: 0, False: 0, None: 0}
    keyed: list[int] = []

    def count(
        match: Match, each: tuple[dict[str, Any], bytes | None, dict[str, str] | None]
    ) -> None:
        counts[match.plainly(Call.of(call_of(*each), made.event))] += 1
        entry = match.indexed(WaitIndex(method_of), 0)
        keyed.append(0 if entry is None else len(entry.wait.keys))

    drawn: Callable[..., None] = settings(
        max_examples=200, deadline=None, derandomize=True, database=None
    )(given(matches, calls)(count))
    drawn()
    assert min(counts[True], counts[False]) > 30
    assert sum(number > 0 for number in keyed) > 40
    assert sum(number > 1 for number in keyed) > 3
