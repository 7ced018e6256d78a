"""The index never misses a call that the predicate matches, for any predicate and call."""

# ruff: noqa: ARG001 - functions that exist for their signatures
from __future__ import annotations

import itertools
import linecache
import sys
from collections.abc import Callable
from decimal import Decimal
from types import ModuleType
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from raysume import push_call, wait
from raysume.call import Call
from raysume.matching import Parsed, bind, evaluate, extractor
from raysume.records import CallRecord


class Order(BaseModel):
    id: int
    tag: str = "t"


@push_call("soundness.event")
def event(a: int, b: str, c: bool, d: int | None, e: Any, f: float, order: Order) -> bool:
    return True


VARIABLES: dict[str, Any] = {
    "one": 1,
    "true": True,
    "half": 0.5,
    "dec": Decimal(1),
    "text": "x",
    "none": None,
    "pair": (1, "x"),
    "flags": [True, 0],
    "empty": (),
    "nan": float("nan"),
}


def _either(usual: list[str], odd: list[str]) -> st.SearchStrategy[str]:
    """Mostly what matches now and then, sometimes what raises or never matches."""
    return st.sampled_from(usual * 3 + odd)


fields = ["a", "b", "c", "d", "order.id", "order.tag"]
paths = _either([f"call.input.{name}" for name in fields] + ["call.output"], ["call.input.e"])
names = _either(
    ["one", "true", "text", "1", "2", "'x'", "True"],
    ["half", "dec", "none", "nan", "missing", "one + 1", "one / 0", "call.input.f"],
)
pure = st.one_of(
    paths,
    paths,
    st.sampled_from(
        ["min(call.input.a, 2)", "call.input.a + 1", "call.input.b.lower()", "len(call.input.b)"]
    ),
)
containers = st.sampled_from(["pair", "flags", "empty", "(1, 2)", "['x']", "(True, False)"])
atoms = st.one_of(
    st.tuples(pure, names).map(lambda pair: f"{pair[0]} == {pair[1]}"),
    st.tuples(pure, names).map(lambda pair: f"{pair[1]} == {pair[0]}"),
    st.tuples(pure, containers).map(lambda pair: f"{pair[0]} in {pair[1]}"),
    st.tuples(names, pure, names).map(lambda three: f"{three[0]} == {three[1]} == {three[2]}"),
    st.tuples(paths, names).map(lambda pair: f"{pair[0]} != {pair[1]}"),
    paths,
    st.sampled_from(["one", "none", "call.input.a > 0"]),
)


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    return st.one_of(
        two.map(lambda pair: f"({pair[0]} and {pair[1]})"),
        two.map(lambda pair: f"({pair[0]} and {pair[1]})"),
        two.map(lambda pair: f"({pair[0]} or {pair[1]})"),
        two.map(lambda pair: f"(({pair[0]}) & ({pair[1]}))"),
        two.map(lambda pair: f"(({pair[0]}) | ({pair[1]}))"),
        inner.map(lambda one: f"(not ({one}))"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
    )


expressions = st.recursive(atoms, _combined, max_leaves=6)
scalars = st.sampled_from([0, 1, 2, "x", "X", True, False, None, 0.5, 1.0, [1], {"k": 1}])
orders: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"id": st.sampled_from([1, 2])}, optional={"tag": st.sampled_from(["x", "t"])}
)
inputs: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "a": st.sampled_from([0, 1, 2, 3]),
        "b": st.sampled_from(["x", "X", "y", ""]),
        "c": st.booleans(),
        "d": st.sampled_from([None, 0, 1]),
        "e": scalars,
        "f": st.sampled_from([0.5, 1.0, 1, 2.5]),
        "order": orders,
    }
)
outputs = st.sampled_from([b"true", b"false", None])
_numbers = itertools.count()


def _lambda(expression: str) -> Callable[[Any], Any]:
    """The lambda of an expression, from a module that can be found like any other."""
    module = ModuleType(f"soundness_{next(_numbers)}")
    sys.modules[module.__name__] = module
    file = f"<{module.__name__}>"
    names = ", ".join(VARIABLES)
    text = f"def make({names}):\n    return lambda call: {expression}\n"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    exec(compile(text, file, "exec"), module.__dict__)  # noqa: S102 - generated above
    made: Callable[[Any], Any] = module.make(**VARIABLES)
    return made


def _plainly(predicate: Callable[[Any], Any], call: Call[Any, Any]) -> bool | None:
    """Whether the predicate, evaluated as it stands, matches; None when it raises."""
    try:
        return bool(predicate(call))
    except Exception:
        return None


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(expressions, st.lists(st.tuples(inputs, outputs), min_size=6, max_size=12))
def test_the_index_finds_every_call_that_the_predicate_matches(
    expression: str, calls: list[tuple[dict[str, Any], bytes | None]]
) -> None:
    predicate = _lambda(expression)
    binding = bind(wait(event).match_if(predicate))
    for values, output in calls:
        data = event.encode_input(event.model_of(values))
        record = CallRecord("c", event.urn, "tests", 0, data, output)
        call = Call.of(record, event)
        matches = _plainly(predicate, call)
        found = (
            not binding.shape
            or extractor(event, binding.shape)(Parsed(record, event)) in binding.keys
        )
        if matches:
            assert found
        elif found and matches is not None:
            assert binding.predicate is not None
            assert not evaluate(binding.predicate, call)
