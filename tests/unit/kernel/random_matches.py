"""Random matches and random calls, for comparing the index with plain evaluation.

A match is text, as a user may write it, compiled in a module of its own: the real analysis
finds its source. Values are drawn from few, so that calls meet waits now and then, and of many
types that are equal across types: 1, 1.0, True and Decimal(1); an enum and its value.
"""

# ruff: noqa: ARG001 - functions that exist for their signatures
from __future__ import annotations

import itertools
import linecache
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from types import ModuleType
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from pydantic import BaseModel

from raysume import push_call


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Tone(StrEnum):
    LOUD = "x"
    SOFT = "y"


class Line(BaseModel):
    sku: str
    count: int = 1


class Order(BaseModel):
    id: int
    tag: str = "t"
    lines: list[Line] = []
    parent: Order | None = None


class Reply(BaseModel):
    code: int
    note: str | None = None


@dataclass
class Spot:
    x: int
    y: float


@push_call("random_matches.event")
def event(
    a: int,
    b: str,
    c: bool,
    d: int | None,
    e: Any,
    f: float,
    amount: Decimal,
    day: date,
    at: datetime,
    span: timedelta,
    ref: UUID,
    raw: bytes,
    colour: Colour,
    level: Level,
    tone: Tone,
    order: Order,
    spot: Spot,
    data: dict[str, Any],
    either: int | str,
) -> Reply:
    return Reply(code=1)


COMPOSED, DECOMPOSED = "\u00e9", "e\u0301"
REF = UUID("00000000-0000-0000-0000-000000000001")
AT = datetime(2024, 3, 1, 12, tzinfo=UTC)
ELSEWHERE = AT.astimezone(timezone(timedelta(hours=5)))
VARIABLES: dict[str, Any] = {
    "one": 1,
    "true": True,
    "float_one": 1.0,
    "half": 0.5,
    "dec": Decimal("1.00"),
    "dec_half": Decimal("0.50"),
    "big": 1 << 70,
    "text": "x",
    "shout": "X",
    "composed": COMPOSED,
    "decomposed": DECOMPOSED,
    "none": None,
    "nan": float("nan"),
    "day": date(2024, 3, 1),
    "at": AT,
    "elsewhere": ELSEWHERE,
    "naive": datetime(2024, 3, 1, 12),
    "span": timedelta(hours=1),
    "ref": REF,
    "ref_text": str(REF),
    "raw": b"x",
    "red": Colour.RED,
    "low": Level.LOW,
    "loud": Tone.LOUD,
    "pair": (1, "x"),
    "flags": [True, 0, None],
    "mixed": {1.0, "x", Decimal(2)},
    "days": (date(2024, 3, 1), AT),
    "empty": (),
    "box": [1],
    "mine": Order(id=1),
}
"""What the workflow's variables hold at the moment of the wait."""


def changed(variables: dict[str, Any]) -> None:
    """The workflow went on: what its variables hold is another value now."""
    variables["flags"].clear()
    variables["box"][0] = 99
    variables["mine"].id = 99


def fresh_variables() -> dict[str, Any]:
    """The variables with containers and objects of their own."""
    own = {"flags": [True, 0, None], "box": [1], "mine": Order(id=1)}
    return VARIABLES | own


# --- expressions -----------------------------------------------------------------

FIELDS = [
    *("a", "b", "c", "d", "e", "f", "amount", "day", "at", "span", "ref", "raw", "colour"),
    *("level", "tone", "either", "order.id", "order.tag", "order.lines[0].sku"),
    *("order.parent.id", "order.parent.parent", "spot.x", "spot.y", "data['k']"),
]
paths = st.one_of(
    st.sampled_from(FIELDS).map(lambda field: f"call.input.{field}"),
    st.sampled_from(["call.output", "call.output.code", "call.output.note", "call.headers['h']"]),
)
names = st.sampled_from(
    [
        *VARIABLES,
        *("1", "2", "True", "None", "'x'", "b'x'", "1.0", "'red'", "box[0]", "mine.id"),
        *("one + 1", "one / 0", "missing", "text.upper()", "str(one)", "call.input.f"),
    ]
)
pure = st.sampled_from(
    [
        *("min(call.input.a, 2)", "call.input.a + 1", "call.input.a % 2", "abs(call.input.a)"),
        *("call.input.b.lower()", "call.input.b.strip()", "len(call.input.b)"),
        *("str(call.input.a)", "call.input.order.tag.upper()", "call.input.a // call.input.a"),
        *("call.input.b.casefold()", "int(call.input.b)", "call.input.day.year"),
    ]
)
sides = st.one_of(paths, paths, paths, pure)
containers = st.sampled_from(
    [
        *("pair", "flags", "mixed", "days", "empty", "box", "text", "(1, 2)", "['x', None]"),
        *("(True, 0.5)", "{1: 2}", "(low, red, loud)", "(nan, 1)", "{'x', 1.0}", "(1, 1.0, True)"),
    ]
)
FITTING = {
    "a": "one true float_one dec big low 1 True",
    "b": "text shout composed decomposed loud 'x'",
    "d": "one none 1 dec",
    "e": "one true float_one text none dec 'red' 1.0",
    "f": "half float_one one dec_half nan",
    "amount": "dec dec_half one float_one half",
    "day": "day",
    "at": "at elsewhere naive",
    "span": "span",
    "ref": "ref ref_text",
    "raw": "raw",
    "colour": "red 'red'",
    "level": "low one true float_one",
    "tone": "loud text 'x'",
    "either": "one text true '1'",
    "order.id": "one mine.id box[0] dec",
    "order.tag": "text shout loud",
    "order.parent.id": "one mine.id",
    "spot.x": "one true",
    "data['k']": "one float_one text none true",
}
"""Field -> what may be equal to it."""
_fitting = st.sampled_from(
    [f"call.input.{field} == {name}" for field, ns in FITTING.items() for name in ns.split()]
)
_lists = st.sampled_from(
    [
        f"call.input.{field} in ({', '.join(name for name in ns.split() if name not in ('none', 'nan'))},)"
        for field, ns in FITTING.items()
    ]
)
_singletons = st.sampled_from(["none", "true", "red", "None", "True"])
"""What `is` may be asked of: the identity of other values does not outlive saving."""
_several = st.sampled_from(
    [
        *("call.input.a in (1, 2)", "call.input.order.id in [1, 2, True]", "call.input.b in pair"),
        *("call.input.b in ('x', shout, composed)", "call.input.level in {1, 2.0}"),
        *("call.input.e in (True, 'red', 0.5)", "call.input.either in {1: 0, 'x': 0}"),
        *("call.input.day in days", "call.input.f in (0.5, 1, half)", "call.input.ref in (ref, 1)"),
        *("call.output.code in (1, dec, 2)", "call.input.a in range(3)", "call.input.b in 'xy'"),
    ]
)
atoms = st.one_of(
    *(_fitting, _fitting, _fitting, _lists, _several, _several),
    st.tuples(sides, names).map(lambda two: f"{two[0]} == {two[1]}"),
    st.tuples(sides, names).map(lambda two: f"{two[1]} == {two[0]}"),
    st.tuples(sides, containers).map(lambda two: f"{two[0]} in {two[1]}"),
    st.tuples(names, sides, names).map(lambda it: f"{it[0]} == {it[1]} == {it[2]}"),
    st.tuples(sides, sides).map(lambda two: f"{two[0]} == {two[1]}"),
    st.tuples(names, sides, names).map(lambda it: f"{it[0]} <= {it[1]} < {it[2]}"),
    st.tuples(paths, names).map(lambda two: f"{two[0]} != {two[1]}"),
    st.tuples(paths, _singletons).map(lambda two: f"{two[0]} is {two[1]}"),
    st.tuples(paths, containers).map(lambda two: f"{two[0]} not in {two[1]}"),
    paths,
    st.sampled_from(["one", "none", "call.input.a > 0", "call.input.c", "call.output is not None"]),
)


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    return st.one_of(
        two.map(lambda it: f"({it[0]} and {it[1]})"),
        two.map(lambda it: f"({it[0]} and {it[1]})"),
        two.map(lambda it: f"({it[0]} or {it[1]})"),
        two.map(lambda it: f"(({it[0]}) & ({it[1]}))"),
        two.map(lambda it: f"(({it[0]}) | ({it[1]}))"),
        inner.map(lambda one: f"(not ({one}))"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
    )


expressions = st.recursive(atoms, _combined, max_leaves=5)
equalities = st.dictionaries(
    st.sampled_from(
        [
            *("a", "b", "c", "d", "e", "amount", "day", "at", "ref", "raw", "colour", "level"),
            *("tone", "either", "order__id", "order__tag", "order__parent__id", "spot__x"),
            *("data__k", "order__parent"),
        ]
    ),
    st.sampled_from([name for name in VARIABLES if name != "nan"]),
    max_size=2,
)
"""Of `.match(...)`: field -> variable."""


# --- calls -----------------------------------------------------------------------

_orders: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"id": st.sampled_from([1, 2])},
    optional={
        "tag": st.sampled_from(["x", "t", "X"]),
        "lines": st.sampled_from([[], [{"sku": "x"}], [{"sku": "y", "count": 2}]]),
        "parent": st.sampled_from([None, {"id": 1}, {"id": 2, "parent": {"id": 1}}]),
    },
)
inputs: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "a": st.sampled_from([0, 1, 2, 1 << 70]),
        "b": st.sampled_from(["x", "X", " x ", "1", COMPOSED, DECOMPOSED, ""]),
        "c": st.booleans(),
        "d": st.sampled_from([None, 0, 1]),
        "e": st.sampled_from([0, 1, 1.0, True, None, "x", 0.5, [1], {"k": 1}, "red"]),
        "f": st.sampled_from([0.5, 1.0, 2.5, float("nan"), float("inf")]),
        "amount": st.sampled_from([Decimal(1), Decimal("1.00"), Decimal("0.5"), Decimal("1E+3")]),
        "day": st.sampled_from([date(2024, 3, 1), date(2024, 3, 2)]),
        "at": st.sampled_from([AT, ELSEWHERE, datetime(2024, 3, 1, 12), AT + timedelta(1)]),
        "span": st.sampled_from([timedelta(hours=1), timedelta(minutes=60), timedelta(0)]),
        "ref": st.sampled_from([REF, UUID(int=2)]),
        "raw": st.sampled_from([b"x", b"y", b"\xff\x00"]),
        "colour": st.sampled_from(Colour),
        "level": st.sampled_from(Level),
        "tone": st.sampled_from(Tone),
        "order": _orders,
        "spot": st.sampled_from([Spot(1, 0.5), Spot(2, 1.0)]),
        "data": st.sampled_from([{}, {"k": 1}, {"k": 1.0}, {"k": "x"}, {"k": None}]),
        "either": st.sampled_from([1, "x", "1"]),
    }
)
outputs = st.sampled_from([None, b'{"code": 1}', b'{"code": 2, "note": "x"}'])
headers = st.sampled_from([None, {"h": "x"}, {"other": "x"}])


# --- from text to a function -----------------------------------------------------

_numbers = itertools.count()


def lambda_of(
    expression: str, variables: dict[str, Any], *, parameters: str = ""
) -> Callable[[Any], Any]:
    """The lambda, closing over the variables, from a module that can be found like any other."""
    name = f"random_matches_{next(_numbers)}"
    module = sys.modules[name] = ModuleType(name)
    file = f"<{name}>"
    text = f"def make({', '.join(variables)}):\n    return lambda call{parameters}: {expression}\n"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    exec(compile(text, file, "exec"), module.__dict__)  # noqa: S102 - generated above
    made: Callable[[Any], Any] = module.make(**variables)
    return made
