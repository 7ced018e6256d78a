"""What the key of a `match_if` lambda is made of.

Only conjuncts that the whole expression implies become atoms: `a and b`, never below `not`,
in one arm of `or`, or in a conditional expression. An atom says that something of the call
equals a value which the call has no part in. What is not an atom stays with the predicate.
"""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, Literal

from raysume.errors import UsageError
from raysume.matching import lambdas, paths
from raysume.methods import Method
from raysume.parsing import parsed_expression

Kind = Literal["equal", "in", "true", "false"]

_PURE_BUILTINS = {"min": min, "max": max, "abs": abs, "len": len, "int": int, "str": str}
_PURE_METHODS = ("lower", "upper", "strip", "casefold")
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Mod, ast.FloorDiv)


@dataclass(frozen=True, slots=True, kw_only=True)
class Atom:
    """One implied equality."""

    kind: Kind
    """`equal`/`in`: to the value or one of the values; `true`/`false`: a bool of the call."""
    part: str
    """The call's side: a path or a pure expression over paths, as it stands in shapes."""
    value: int
    """Index of the value's expression; -1 for `true` and `false`."""
    group: int
    """Atoms of one group (operands of one `&`) are part of the key together or not at all."""
    full: bool = True
    """Whether being equal is all that the atom's conjunct says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What is known of one lambda for one method."""

    atoms: tuple[Atom, ...]
    covered: bool
    """Whether the atoms are the whole expression."""
    values: CodeType | None
    """Code of a function that returns the tuple of all values."""
    each: tuple[CodeType, ...]
    """Code of functions that return one value each."""
    joint: frozenset[int] = frozenset()
    """The groups of more than one atom."""


NOTHING = Analysis(atoms=(), covered=False, values=None, each=())


def analysis_of(function: Any, method: Method) -> Analysis:
    """The analysis of a predicate, made once for each code and method.

    Raises:
        UsageError: the lambda names something that the method's calls do not have.
    """
    if type(function) is not FunctionType:
        return NOTHING
    code = function.__code__
    cache: dict[int, tuple[CodeType, Analysis]] = method.__dict__.setdefault("_analyses", {})
    known = cache.get(id(code))
    if known is not None:
        return known[1]
    found = _analyse(function, method)
    cache[id(code)] = (code, found)
    return found


def _analyse(function: FunctionType, method: Method) -> Analysis:
    tree = simple_tree_of(function)
    return NOTHING if tree is None else _Analyser(function, method, tree).run()


def simple_tree_of(function: FunctionType) -> ast.Lambda | None:
    """The tree of a lambda that takes a call, and what has defaults; None: it is something else."""
    code = function.__code__
    positional_only = not code.co_kwonlyargcount and not code.co_flags & 0x0C
    extras = code.co_argcount - 1
    if extras < 0 or not positional_only or len(function.__defaults__ or ()) != extras:
        return None
    tree = lambdas.tree_of(function)
    if tree is None or any(isinstance(node, ast.NamedExpr) for node in ast.walk(tree)):
        return None
    return tree


def check_names(tree: ast.Lambda, method: Method, where: str) -> None:
    """The names that a predicate looks up in the call exist as far as can be known.

    Raises:
        UsageError: one does not.
    """
    name = tree.args.args[0].arg if tree.args.args else ""
    for node in ast.walk(tree.body):
        _check_node(node, name, method, where)


def check_reads(tree: ast.AST, name: str, method: Method, file: str) -> None:
    """What a function reads of a variable that holds a call of the method exists.

    Raises:
        UsageError: it does not, as far as can be known.
    """
    pending = [tree]
    while pending:
        node = pending.pop()
        inner = node.args if isinstance(node, _FUNCTIONS) and node is not tree else None
        if inner is not None and name in {n.arg for n in ast.walk(inner) if isinstance(n, ast.arg)}:
            continue
        if not isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
            _check_node(node, name, method, f"{file}:{getattr(node, 'lineno', 0)}")
        pending.extend(ast.iter_child_nodes(node))


_FUNCTIONS = (ast.Lambda, ast.FunctionDef, ast.AsyncFunctionDef)


def _check_node(node: ast.AST, name: str, method: Method, where: str) -> None:
    path = paths.path_of(node, root_of(name)) if isinstance(node, ast.expr) else None
    if path is not None:
        paths.check_attribute(method, path, where)
    _check_call_attribute(node, name, where)


def _check_call_attribute(node: ast.AST, name: str, where: str) -> None:
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
        and node.attr not in paths.CALL_ATTRIBUTES
        and not node.attr.startswith("__")
    ):
        raise UsageError(
            f"{where}: a call has no {node.attr!r}; it has input, output, error, headers, id, "
            f"method, service and at. Parameters are read as {name}.input.{node.attr}."
        )


def root_of(name: str) -> Any:
    """A function that says which root of the call of this name an expression is (see `paths.path_of`)."""

    def root(node: ast.expr) -> str | None:
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == name
            and node.attr in paths.ROOTS
        ):
            return node.attr
        return None

    return root


class _Analyser:
    """Collects the atoms of one lambda."""

    def __init__(self, function: FunctionType, method: Method, tree: ast.Lambda) -> None:
        self.function, self.method, self.tree = function, method, tree
        self.call = function.__code__.co_varnames[0]
        self.root = root_of(self.call)
        self.atoms: list[Atom] = []
        self.values: list[ast.expr] = []
        self.groups = 0

    def run(self) -> Analysis:
        code = self.function.__code__
        check_names(self.tree, self.method, f"{code.co_filename}:{code.co_firstlineno}")
        covered = self._conjunct(self.tree.body)
        if not self.atoms:
            return NOTHING
        each = tuple(made for value in self.values if (made := self._code([value])) is not None)
        if len(each) != len(self.values):
            return NOTHING
        groups = Counter(atom.group for atom in self.atoms)
        return Analysis(
            atoms=tuple(self.atoms),
            covered=covered,
            values=self._code(self.values),
            each=each,
            joint=frozenset(group for group, count in groups.items() if count > 1),
        )

    def _code(self, values: list[ast.expr]) -> CodeType | None:
        """Code that returns the values, with the lambda's further parameters as its own."""
        body = values[0] if len(values) == 1 else ast.Tuple(elts=values, ctx=ast.Load())
        own = self.tree.args
        names = [*own.posonlyargs, *own.args][1:]
        arguments = ast.arguments(
            posonlyargs=[], args=names, kwonlyargs=[], kw_defaults=[], defaults=[]
        )
        function = ast.Lambda(args=arguments, body=body)
        ast.copy_location(function, self.tree)
        return lambdas.compiled(
            function, self.function.__code__.co_freevars, self.function.__code__
        )

    def _conjunct(self, node: ast.expr) -> bool:
        """Collects what `node` implies; whether that is all it says."""
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            # a list: every conjunct is to be looked at, also after one that says more
            return all([self._conjunct(value) for value in node.values])  # noqa: C419
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
            return self._bit_and(node)
        self.groups += 1
        if isinstance(node, ast.Compare):
            return self._comparison(node, self.groups)
        return self._truth(node, self.groups)

    def _bit_and(self, node: ast.BinOp) -> bool:
        # `a & b` implies both only when both are bools: known when every operand is an atom.
        operands = list(_operands(node))
        self.groups += 1
        before = len(self.atoms), len(self.values)
        for operand in operands:
            is_plain = isinstance(operand, ast.Compare) and len(operand.ops) == 1
            whole = (
                self._comparison(operand, self.groups)
                if is_plain and isinstance(operand, ast.Compare)
                else self._truth(operand, self.groups)
            )
            if not whole:
                del self.atoms[before[0] :]
                del self.values[before[1] :]
                return False
        return True

    def _comparison(self, node: ast.Compare, group: int) -> bool:
        whole = True
        sides = [node.left, *node.comparators]
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            whole = self._pair(left, operator, right, group) and whole
        return whole

    def _pair(self, left: ast.expr, operator: ast.cmpop, right: ast.expr, group: int) -> bool:
        if isinstance(operator, ast.Eq):
            return self._add("equal", left, right, group) or self._add("equal", right, left, group)
        if isinstance(operator, ast.In):
            return self._add("in", left, right, group)
        return False

    def _add(self, kind: Kind, side: ast.expr, value: ast.expr, group: int) -> bool:
        if self._mentions_call(value):
            return False
        part = self._part(side)
        if part is None:
            return False
        self.values.append(value)
        self.atoms.append(Atom(kind=kind, part=part, value=len(self.values) - 1, group=group))
        return True

    def _truth(self, node: ast.expr, group: int) -> bool:
        kind: Kind = "true"
        while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            kind = "false" if kind == "true" else "true"
            node = node.operand
        path = paths.path_of(node, self.root)
        if path is None or paths.leaf_type(self.method, path) is not bool:
            return False
        if kind == "false" and path.text() == "output":
            return False  # also holds for calls that carry no output
        self.atoms.append(Atom(kind=kind, part=path.text(), value=-1, group=group))
        return True

    def _mentions_call(self, node: ast.expr) -> bool:
        return any(
            (isinstance(inner, ast.Name) and inner.id == self.call)
            or isinstance(inner, ast.Await | ast.Yield | ast.YieldFrom)
            for inner in ast.walk(node)
        )

    def _part(self, node: ast.expr) -> str | None:
        """The call's side as it stands in shapes; None when it cannot be part of a key."""
        path = paths.path_of(node, self.root)
        if path is not None:
            hint = paths.leaf_type(self.method, path)
            known = hint is not paths.OPAQUE and paths.has_known_equality(hint)
            return path.text() if known else None
        if not self._is_pure(node):
            return None
        return ast.unparse(_Rooted(self.call).visit(parsed_expression(ast.unparse(node))))

    def _is_pure(self, node: ast.expr) -> bool:
        """Whether a compound expression is over this call's plain values and constants alone."""
        if not self._mentions_call(node):
            return False
        return self._pure(node)

    def _pure(self, node: ast.expr) -> bool:
        match node:
            case ast.Constant():
                return type(node.value) in (str, int, float, bool)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._is_builtin(name) and all(map(self._pure, arguments))
            case ast.Call(func=ast.Attribute(value=owner, attr=name), args=[], keywords=[]):
                return name in _PURE_METHODS and self._plain_path(owner, (str,))
            case ast.BinOp(left=left, op=operator, right=right):
                return isinstance(operator, _ARITHMETIC) and self._pure(left) and self._pure(right)
            case _:
                return self._plain_path(node, (str, int, float, bool))

    def _plain_path(self, node: ast.expr, allowed: tuple[type, ...]) -> bool:
        path = paths.path_of(node, self.root)
        return path is not None and paths.leaf_type(self.method, path) in allowed

    def _is_builtin(self, name: str) -> bool:
        code, module = self.function.__code__, self.function.__globals__
        return (
            name in _PURE_BUILTINS
            and name not in code.co_freevars
            and name not in code.co_varnames
            and name not in module
            and getattr(builtins, name) is _PURE_BUILTINS[name]
        )


class _Rooted(ast.NodeTransformer):
    """Writes `call.input` as `input`."""

    def __init__(self, call: str) -> None:
        self.call = call

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.value.id == self.call:
            return ast.Name(id=node.attr, ctx=ast.Load())
        return ast.Attribute(value=self.visit(node.value), attr=node.attr, ctx=node.ctx)


def _operands(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
        yield from _operands(node.left)
        yield from _operands(node.right)
    else:
        yield node
