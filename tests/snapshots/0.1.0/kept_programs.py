"""Programs whose suspended state is kept beside this file, as release 0.1.0 saved it.

Never edited: later releases load the state with this very source and go on with it.
"""

# ruff: noqa: PLW0120

from __future__ import annotations

import sys
from typing import Any

from raysume.compiler import compile_subflow, compile_workflow
from raysume.durable import Durable


class Leaf(Durable):
    def __init__(self, name: str, callback: Any = None) -> None:
        self.name, self.callback = name, callback

    def __await__(self) -> Any:
        return (yield self)


class Refused(Exception):
    def __init__(self, reason: str, code: int) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code


def subflow(function: Any) -> Any:
    return compile_subflow(function)


@subflow
async def ask(who: str, note: Any) -> Any:
    for attempt in range(3):
        answer = await Leaf(f"{who} {attempt}", note)
        if answer is not None:
            note(answer)
            return answer
    raise Refused("nobody", 7)


async def expressions(order: dict[str, Any]) -> Any:
    items = list(order["items"])
    found = {"first": items[0], **order, "sum": sum(items) + await Leaf("sum"), "end": len(items)}
    items[1:] += [await Leaf("more")]
    return found, items, f"{items!r:>20} {await Leaf('last')}"


async def loops(limit: int) -> Any:
    found = []
    for index, name in enumerate(["a", "b", "c"]):
        while (value := await Leaf(name)) < limit:
            found.append((index, value))
        else:
            found.append((name, "else"))
    return found


async def failing() -> Any:
    found = []
    try:
        try:
            raise Refused("first", 1)
        except Refused as error:
            found.append(await Leaf("handler"))
            raise KeyError(error.code) from error
        finally:
            found.append(type(sys.exc_info()[1]).__name__)
            found.append(await Leaf("finally"))
    except KeyError as error:
        found.append((error.args, str(error.__cause__), await Leaf("outer")))
    return found


async def returning() -> Any:
    for number in range(5):
        try:
            if number == 1:
                return await Leaf("value")
        finally:
            await Leaf(f"finally {number}")
    return None


async def closures() -> Any:
    total = 0

    def add(value: int) -> None:
        nonlocal total
        total += value

    double = lambda value, factor=2: value * factor + total

    @subflow
    async def nested(name: str) -> Any:
        add(await Leaf(name))
        return await ask(name, add)

    first = await nested("x")
    return first, total, double(1), [total + each for each in range(2)]


async def matching(subject: Any) -> Any:
    match subject:
        case {"kind": kind, **rest} if await Leaf("guard"):
            return kind, rest, await Leaf("body")
        case _:
            return "other"


class Desk:
    def __init__(self) -> None:
        self.served = 0

    async def serve(self, name: str) -> Any:
        served = self.__serve
        answer = await Leaf(name)
        served()
        return answer, self.served

    def __serve(self) -> None:
        self.served += 1

    serve = compile_workflow(serve, name="Desk.serve")


PROGRAMS: dict[str, tuple[Any, tuple[Any, ...], list[Any]]] = {
    "expressions": (expressions, ({"items": [1, 2]},), [10, 20, "end"]),
    "loops": (loops, (5,), [1, 9, 2, 8, 7]),
    "failing": (failing, (), ["h", "f", "o"]),
    "returning": (returning, (), [0, "value", 1]),
    "closures": (closures, (), [1, None, 5]),
    "matching": (matching, ({"kind": "k", "other": 1},), [True, "b"]),
    "Desk.serve": (Desk, ("ann",), ["hello"]),
}
"""Name -> (function, arguments, answers to its waits)."""


def definition_of(name: str) -> tuple[Any, tuple[Any, ...]]:
    """The compiled program and its arguments."""
    function, arguments, _ = PROGRAMS[name]
    if function is Desk:
        return vars(Desk)["serve"], (Desk(), *arguments)
    return compile_workflow(function, name=name), arguments
