"""Generates programs: control flow, exceptions, closures, groups and expressions with awaits.

Every choice goes through one `Choices`, which hypothesis or a seed stands behind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")

PRELUDE = """\
import sys

"""


class Choices(Protocol):
    """Where decisions come from."""

    def number(self, low: int, high: int) -> int:
        """One of the numbers, both ends included."""
        ...


class Program:
    """Writes one program."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.count = 0
        self.nested = 0

    def one_of(self, options: list[T]) -> T:
        return options[self.choices.number(0, len(options) - 1)]

    def chance(self, tenths: int) -> bool:
        return self.choices.number(1, 10) <= tenths

    def text(self) -> str:
        """The program: a workflow `flow(o)` with a subflow."""
        lines = [
            "@subflow",
            "async def child(o, x, fn=None):",
            "    d = {'k': 1}; b = Box(); l = [1]",
        ]
        lines += self.block(self.choices.number(0, 1), 1, loop=False, handler=False, calls=False)
        lines += ["    return x"]
        lines += ["async def flow(o, x=1):", "    d = {'k': 1}; b = Box(); l = [1]"]
        depth = 3 if self.chance(1) else 2
        lines += self.block(depth, 1, loop=False, handler=False, calls=True)
        lines += self.block(0, 1, loop=False, handler=False, calls=True)
        lines += ["    return x, d, b, l"]
        return PRELUDE + "\n".join(lines) + "\n"

    # --- statements --------------------------------------------------------------

    def block(
        self, depth: int, indent: int, *, loop: bool, handler: bool, calls: bool
    ) -> list[str]:
        out: list[str] = []
        for _ in range(self.choices.number(1, 2 if depth == 0 else 3)):
            out += self.statement(depth, indent, loop=loop, handler=handler, calls=calls)
        return out

    def kind(self, depth: int, *, loop: bool, handler: bool, calls: bool) -> str:
        kinds = ["trace", "wait", "expression", "expression", "store", "raise", "return"]
        if depth > 0:
            kinds += ["try", "try", "finally", "finally", "if", "for", "while", "match", "star"]
            kinds += ["closure", "with"] if self.nested == 0 else []
        if loop:
            kinds += ["break", "continue"]
        if handler:
            kinds += ["again", "from"]
        if calls:
            kinds += ["child", "group"]
        return self.one_of(kinds)

    def statement(
        self, depth: int, indent: int, *, loop: bool, handler: bool, calls: bool
    ) -> list[str]:
        self.count += 1
        number, pad = self.count, "    " * indent
        kind = self.kind(depth, loop=loop, handler=handler, calls=calls)

        def inner(**changes: bool) -> list[str]:
            how = {"loop": loop, "handler": handler, "calls": calls, **changes}
            return self.block(depth - 1, indent + 1, **how)

        match kind:
            case "trace":
                return [f"{pad}o.append({number})"]
            case "wait":
                return [f"{pad}o.append(('w', await Leaf({number})))"]
            case "expression":
                return [f"{pad}x = num({self.expression(2)})"]
            case "store":
                return [pad + self.store()]
            case "raise":
                error = self.one_of(["A", "B", "Two"])
                args = f"{number}, x" if error == "Two" else str(number)
                return [f"{pad}if x % {self.choices.number(2, 4)} == 0: raise {error}({args})"]
            case "return":
                value = self.one_of(["x", f"await Leaf({number})", "None", "(x, await Leaf(0))"])
                return [f"{pad}if x % {self.choices.number(2, 5)} == 1: return {value}"]
            case "break":
                return [f"{pad}if x % {self.choices.number(2, 3)} == 1: break"]
            case "continue":
                return [f"{pad}if x % {self.choices.number(2, 3)} == 1: continue"]
            case "again":
                return [f"{pad}if x % 2: raise"]
            case "from":
                cause = self.one_of(["None", "KeyError(1)", f"B(await Leaf({number}))"])
                return [f"{pad}if x % 2: raise A({number}) from {cause}"]
            case "child":
                return [f"{pad}x = num(await child(o, {self.expression(1)}))"]
            case "group":
                members = [self.one_of([f"Leaf({number})", "child(o, x)"]) for _ in range(2)]
                return [f"{pad}o.append(await Both({', '.join(members)}))"]
            case "if":
                test = self.expression(1)
                return [f"{pad}if num({test}) % 2:", *inner(), f"{pad}else:", *inner()]
            case "closure":
                return self.closure(depth, indent, loop, handler, calls)
            case "with":
                return self.with_block(indent, number)
            case "for" | "while":
                return self.loop(kind, indent, number, inner)
            case "match":
                return self.match(indent, inner)
            case "star":
                return self.star(indent, number, inner)
            case _:
                return self.tried(kind, indent, inner)

    def store(self) -> str:
        value = self.expression(1)
        number = self.choices.number(0, 9)
        return self.one_of(
            [
                f"d[await Leaf({number})] = {value}",
                f"d['k'] += num({value})",
                f"b.value = {value}",
                f"b.value -= num(await Leaf({number}))",
                f"l += [await Leaf({number}), {value}]",
                f"l[0], d[await Leaf({number})], *b.value = {value}, await Leaf(1), 3",
                f"x = y = num({value}); del y",
                f"assert num({value}) % 7, await Leaf({number})",
                f"x: int = num({value})",
                f"del l[await Leaf({number}):]; l.append(1)",
            ]
        )

    def loop(
        self, kind: str, indent: int, number: int, inner: Callable[..., list[str]]
    ) -> list[str]:
        pad, times = "    " * indent, self.choices.number(1, 3)
        if kind == "for":
            items = self.one_of(
                [
                    f"range({times})",
                    f"[1, await Leaf({number})]",
                    "list(d.items())",
                    "enumerate('ab')",
                ]
            )
            out = [f"{pad}for i{number} in {items}:", *inner(loop=True)]
        else:
            test = self.one_of(["", f" and (await Leaf({number})) != 1", " and num(x) >= 0"])
            out = [f"{pad}c{number} = 0", f"{pad}while c{number} < {times}{test}:"]
            out += [f"{pad}    c{number} += 1", *inner(loop=True)]
        if self.chance(3):
            out += [f"{pad}else:", *inner()]
        return out

    def tried(self, kind: str, indent: int, inner: Callable[..., list[str]]) -> list[str]:
        pad = "    " * indent
        out = [f"{pad}try:", *inner()]
        if kind == "try" or self.chance(5):
            for caught in self.one_of(
                [["A"], ["B"], ["A", "B"], ["(A, B)"], ["Exception"], ["Two", "A"]]
            ):
                name = self.one_of(["", " as e", " as e"])
                out.append(f"{pad}except {caught}{name}:")
                if name:
                    out.append(f"{pad}    o.append(('h', chain(e)))")
                    if self.chance(2):
                        out.append(f"{pad}    {self.one_of(['del e', 'e = 5', 'o.seen = e'])}")
                out += inner(handler=True)
            if self.chance(3):
                out += [f"{pad}else:", *inner()]
        if kind == "finally":
            out.append(f"{pad}finally:")
            if self.chance(5):
                out.append(f"{pad}    o.append(('f', chain(sys.exc_info()[1])))")
            out += inner()
        return out

    def star(self, indent: int, number: int, inner: Callable[..., list[str]]) -> list[str]:
        pad = "    " * indent
        out = [f"{pad}try:", *inner(loop=False)]
        if self.chance(4):
            out.append(f"{pad}    raise ExceptionGroup('g', [A({number}), B({number})])")
        out += [f"{pad}except* A as g:", f"{pad}    o.append(('g', len(g.exceptions)))"]
        if self.chance(4):
            out += [f"{pad}else:", *inner()]
        if self.chance(4):
            out += [f"{pad}finally:", *inner()]
        return out

    def match(self, indent: int, inner: Callable[..., list[str]]) -> list[str]:
        pad = "    " * indent
        subject = self.one_of(["x", "[x, 2]", "{'k': x}", f"await Leaf({self.count})"])
        guard = self.one_of(["", " if x % 2", f" if num(await Leaf({self.count})) % 2"])
        out = [f"{pad}match {subject}:"]
        out += [f"{pad}    case {{'k': m}}{guard}:", *["    " + line for line in inner()]]
        out += [f"{pad}    case [m, *_]:", *["    " + line for line in inner()]]
        if self.chance(6):
            out += [f"{pad}    case m{guard}:", f"{pad}        o.append(('m', m))"]
            out += ["    " + line for line in inner()]
        return out

    def with_block(self, indent: int, number: int) -> list[str]:
        pad = "    " * indent
        header = self.one_of(["logged(o, x)", f"logged(o, await Leaf({number})) as y"])
        inside = self.one_of(["x += 1", f"raise A({number})", "x = num(o.seen)"])
        return [f"{pad}with {header}:", f"{pad}    {inside}"]

    def closure(self, depth: int, indent: int, loop: bool, handler: bool, calls: bool) -> list[str]:
        pad, name = "    " * indent, f"f{self.count}"
        self.nested += 1
        if self.chance(5):
            out = [f"{pad}def {name}(v, w=await Leaf({self.count})):"]
            out += [
                f"{pad}    nonlocal x",
                f"{pad}    x = num(v) + num(w) + x",
                f"{pad}    return x",
            ]
            use = f"{pad}o.append({name}(await Leaf({self.count})))"
        else:
            out = [f"{pad}@subflow", f"{pad}async def {name}(v):", f"{pad}    nonlocal x"]
            out += [
                f"{pad}    g = lambda: (v, x)",
                f"{pad}    x = num(v) + num(await Leaf({self.count}))",
            ]
            out += [f"{pad}    return g()"]
            use = f"{pad}o.append(await {name}({self.expression(1)}))"
        out += self.block(depth - 1, indent, loop=loop, handler=handler, calls=calls)
        self.nested -= 1
        return [*out, use]

    # --- expressions -------------------------------------------------------------

    def expression(self, depth: int) -> str:
        number = self.choices.number(0, 9)
        leaves = ["x", str(number), f"t(o, {number})", f"await Leaf({number})", "b.value", "d['k']"]
        if depth == 0 or self.chance(3):
            return self.one_of(leaves)
        a, b, c = (self.expression(depth - 1) for _ in range(3))
        p, q = (self.one_of(["x", f"await Leaf({number})", "b.value", "t(o, 1)"]) for _ in "pq")
        items = "x" if ":=" in a else f"lst({a})"
        return self.one_of(
            [
                f"num({a}) + num({b})",
                f"({a} and {b} or {c})",
                f"({a} if num({b}) % 2 else {c})",
                f"(num({a}) < num({b}) <= num({c}))",
                f"[{a}, *lst({b}), {c}]",
                f"({a}, {b}, *lst({c}))",
                f"{{{a!r}: {b}, 'z': {c}, **d}}",
                f"{{'q': {a}, **d, 'r': {b}}}",
                f"f'{{{p}}} {{{q}!r:>{{num({p})}}}} {{x}}'",
                f"args({a}, *lst({b}), k={c})",
                f"args({a}, **{{'k': {b}}}, z={c})",
                f"lst({a})[num({b}) % 2:{c} and 3]",
                f"lst({a})[num({b}) % 1]",
                f"(y := {a}, {b}, y)",
                f"(lambda v={a}: (v, {b if 'await' not in b else 0}))()",
                f"[v + num(x) for v in ({items},)]",
                f"not {a}",
                f"num({a}).__add__(num({b}))",
                f"o.append({a}) or {b}",
            ]
        )
