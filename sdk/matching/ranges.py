"""Ranges: what rules a predicate out for a call without evaluating it.

`call.input.amount > limit` compares something of the call with a bound, which is fixed when the
wait is made. A predicate that begins with such a comparison is false for every call whose value
is on the other side of the bound. Before the comparison may come guards: conjuncts over the
call and constants alone, e.g. `call.output is not None`. What a range says is always what
evaluation would say; where evaluation may raise, it says nothing. A second comparison of the
same value right after the first one, as in `low <= call.input.amount < high`, is a second bound.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import CodeType, FunctionType
from typing import Any, Final, Literal

from raysume.call import Call
from raysume.matching import atoms, extraction, paths, predicates
from raysume.matching.canonical import FIXED_ZONES
from raysume.methods import Method
from raysume.parsing import parsed_expression

Operator = Literal["<", "<=", ">", ">="]
Kind = Literal["int", "float", "decimal", "str", "date", "naive", "aware", "timedelta"]
Bound = Any
"""A value of one of the kinds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What the predicates have in common whose bounds stand in one order."""

    part: str
    """The path in the call whose value is compared."""
    operators: tuple[Operator, ...]
    """Value, operator, bound: in this order. Of one comparison, or of two."""
    kind: Kind
    """Of the bounds: those of one kind have a total order."""
    guards: tuple[str, ...]
    """The conjuncts that come before the comparison, as expressions over `call`."""


HOLDS: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
"""Whether a value read of a call has this relation to a bound."""

ANY: Final[Any] = object()
"""Read of a call for which evaluating predicates of a range may raise, or nothing is known."""
NONE: Final[Any] = object()
"""Read of a call for which no predicate of a range holds or raises."""


# --- values ----------------------------------------------------------------------

_KINDS: Final[Mapping[type, Kind]] = {
    bool: "int",
    int: "int",
    str: "str",
    date: "date",
    timedelta: "timedelta",
}
_COMPARABLE: Final[Mapping[Kind, frozenset[Kind]]] = {
    "int": frozenset({"int", "float", "decimal"}),
    "float": frozenset({"int", "float"}),
    "decimal": frozenset({"int", "decimal"}),
}
"""Kind of a bound -> of which kinds a value may be, if not of the same: comparing them is exact
and never raises. Comparing a Decimal with a float raises where a context traps that."""


def _kind_of(value: Any) -> Kind | None:
    """The kind of a value; None: comparing it may raise, or gives no total order."""
    exact: type = type(value)  # of a subclass nothing is known
    if exact is float:
        return None if math.isnan(value) else "float"
    if exact is Decimal:
        return None if value.is_nan() else "decimal"
    if exact is datetime:
        zone = value.tzinfo
        if zone is None:
            return "naive"
        # Two datetimes of one zone are compared by their wall times: with others' that is no order.
        return "aware" if type(zone) in FIXED_ZONES else None
    return _KINDS.get(exact)


# --- of calls --------------------------------------------------------------------


Reader = Callable[[extraction.Parsed], Any]


def range_reader(method: Method, of: Range) -> Reader:
    """A function that gives what a call's value is: ANY, NONE, or to be compared with bounds."""
    cache: dict[Range, Reader] = method.__dict__.setdefault("_range_readers", {})
    found = cache.get(of)
    if found is None:
        found = cache[of] = _reader(of)
    return found


def _reader(of: Range) -> Reader:
    read = predicates.reader(of.part)
    guard = _guard(of.guards)
    comparable = _COMPARABLE.get(of.kind, frozenset({of.kind}))
    is_nan_false = "float" in comparable

    def reader(parsed: extraction.Parsed) -> Any:
        # Of the validated call: where the JSON does not fit the types, predicates raise.
        try:
            call = parsed.call
            if guard is not None and not guard(call):
                return NONE
            value = read(call)
        except Exception:  # user types: whatever following the path raises
            return ANY
        if _kind_of(value) in comparable:
            return value
        is_nan = type(value) is float and math.isnan(value)
        return NONE if is_nan and is_nan_false else ANY

    return reader


def _guard(guards: tuple[str, ...]) -> Callable[[Call[Any, Any]], Any] | None:
    if not guards:
        return None
    text = " and ".join(f"({guard})" for guard in guards)
    made: Any = eval(f"lambda call: {text}", {"__builtins__": {}})
    return made  # type: ignore[no-any-return]


# --- of predicates ---------------------------------------------------------------


def range_of(predicate: bytes, method: Method) -> tuple[Range, tuple[Bound, ...]] | None:
    """The range of a predicate, and a bound for each of its operators.

    None: the predicate is to be evaluated for every call.
    """
    try:
        function = predicates.lone_function(predicate)
        if type(function) is not FunctionType:
            return None
        found = _comparisons_of(function, method)
        if found is None:
            return None
        variables = _variables(function)
    except Exception:  # evaluating the predicate tells
        return None
    bounds = [_tried(bound, variables) for bound in found.bounds]
    kind = _kind_of(bounds[0])
    if kind is None:
        return None
    if _kind_of(bounds[-1]) != kind:
        del bounds[1:]
    operators = found.operators[: len(bounds)]
    made = Range(part=found.part, operators=operators, kind=kind, guards=found.guards)
    return made, tuple(bounds)


def _tried(node: ast.expr, variables: Mapping[str, Any]) -> Any:
    try:
        return _value(node, variables)
    except Exception:  # it is of no kind then
        return None


def _variables(function: FunctionType) -> dict[str, Any]:
    """What is fixed with a predicate: captured variables and further parameters, by name."""
    code = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    found = dict(
        zip(code.co_varnames[1 : code.co_argcount], function.__defaults__ or (), strict=True)
    )
    return found | {name: cell.cell_contents for name, cell in cells}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparisons:
    """The comparisons that a lambda begins with: one, or two of the same value."""

    part: str
    operators: tuple[Operator, ...]
    bounds: tuple[ast.expr, ...]
    guards: tuple[str, ...] = ()


def _comparisons_of(function: FunctionType, method: Method) -> _Comparisons | None:
    """The comparisons of a lambda, looked for once for each code and method."""
    code = function.__code__
    cache: dict[CodeType, _Comparisons | None] = method.__dict__.setdefault("_comparisons", {})
    if code not in cache:
        tree = atoms.simple_tree_of(function)
        cache[code] = None if tree is None else _Finder(code, method).find(tree.body)
    return cache[code]


_OPERATORS: Final[Mapping[type[ast.cmpop], tuple[Operator, Operator]]] = {
    ast.Lt: ("<", ">"),
    ast.LtE: ("<=", ">="),
    ast.Gt: (">", "<"),
    ast.GtE: (">=", "<="),
}
"""How a comparison reads from its left side, and from its right."""
_ARITHMETIC: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
_NUMBERS: Final = (int, float, bool)


class _Finder:
    """Finds the comparisons of one lambda."""

    def __init__(self, code: CodeType, method: Method) -> None:
        self._call = code.co_varnames[0]
        self._names = {*code.co_freevars, *code.co_varnames[1 : code.co_argcount]}
        self._root = atoms.root_of(self._call)
        self._method = method

    def find(self, body: ast.expr) -> _Comparisons | None:
        guards: list[str] = []
        pairs = _pairs(body)
        for node in pairs:
            first = self._compared(node)
            if first is not None:
                second = self._compared(next(pairs, None))
                return self._both(first, second, tuple(guards))
            if not self._is_guard(node):
                return None
            guards.append(self._text(node))
        return None

    def _both(
        self, first: _Comparisons, second: _Comparisons | None, guards: tuple[str, ...]
    ) -> _Comparisons:
        if second is None or second.part != first.part:
            return replace(first, guards=guards)
        return replace(
            first,
            operators=first.operators + second.operators,
            bounds=first.bounds + second.bounds,
            guards=guards,
        )

    def _compared(self, node: ast.expr | None) -> _Comparisons | None:
        if not isinstance(node, ast.Compare) or type(node.ops[0]) not in _OPERATORS:
            return None
        from_left, from_right = _OPERATORS[type(node.ops[0])]
        left, right = node.left, node.comparators[0]
        for side, read_as, bound in ((left, from_left, right), (right, from_right, left)):
            part = self._path(side)
            if part is not None and self._is_fixed(bound):
                return _Comparisons(part=part, operators=(read_as,), bounds=(bound,))
        return None

    def _path(self, node: ast.expr) -> str | None:
        path = paths.path_of(node, self._root)
        if path is None or paths.leaf_type(self._method, path) in (paths.OPAQUE, paths.MISSING):
            return None
        return path.text()

    def _is_fixed(self, node: ast.expr) -> bool:
        """Whether the call has no part in a value, nor what may change after the wait."""
        match node:
            case ast.Constant():
                return True
            case ast.Name(id=name):
                return name in self._names
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                return self._is_fixed(operand)
            case ast.BinOp(left=left, op=of, right=right):
                return type(of) in _ARITHMETIC and self._is_fixed(left) and self._is_fixed(right)
            case ast.Attribute(value=owner):
                return isinstance(owner, ast.Name | ast.Attribute) and self._is_fixed(owner)
            case _:
                return False

    def _is_guard(self, node: ast.expr) -> bool:
        match node:
            case ast.BoolOp(values=values):
                return all(map(self._is_guard, values))
            case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
                return self._is_guard(operand)
            case ast.Compare(left=left, comparators=others):
                return all(map(self._is_guard, (left, *others)))
            case ast.Constant(value=value):
                return value is None or type(value) in (str, int, float, bool)
            case _:
                return self._path(node) is not None

    def _text(self, guard: ast.expr) -> str:
        copy = parsed_expression(ast.unparse(guard))
        for node in ast.walk(copy):
            if isinstance(node, ast.Name):
                node.id = "call"  # the only name in a guard
        return ast.unparse(copy)


def _pairs(node: ast.expr) -> Iterator[ast.expr]:
    """What is evaluated one after the other, up to the first that is false.

    Chains of comparisons pair by pair: reading a path or a fixed value twice changes nothing.
    """
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        for value in node.values:
            yield from _pairs(value)
    elif isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        for left, of, right in zip(sides, node.ops, sides[1:], strict=False):
            yield ast.Compare(left=left, ops=[of], comparators=[right])
    else:
        yield node


class _Unknown(Exception):
    """The value may be another one later."""


def _value(node: ast.expr, variables: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return variables[name]
        case ast.UnaryOp(op=of, operand=operand):
            value = _number(_value(operand, variables))
            return -value if isinstance(of, ast.USub) else value
        case ast.BinOp(left=left, op=of, right=right):
            first, second = _value(left, variables), _value(right, variables)
            return _ARITHMETIC[type(of)](_number(first), _number(second))
        case _:
            return _of_call(node, variables)


def _number(value: Any) -> Any:
    # what Decimal gives depends on the context of the moment
    if type(value) in _NUMBERS:
        return value
    raise _Unknown


def _of_call(node: ast.expr, variables: Mapping[str, Any]) -> Any:
    """What was read of an earlier call: plain fields of plain models never change."""
    name = next(inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))
    call, path = variables[name], paths.path_of(node, atoms.root_of(name))
    if type(call) is not Call or path is None:
        raise _Unknown
    if not extraction.is_plain_path(call.declaration, path):
        raise _Unknown
    return predicates.reader(path.text())(call)
