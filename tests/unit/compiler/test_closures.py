"""Closures, classes and methods across waits: cells, nested functions, super, private names."""

# ruff: noqa: ASYNC230, B023, PLC3002, PYI063 - code as users may write it

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.unit.compiler.harness import Both, Leaf, both_ways, reloaded, run, suspended

from raysume.compiler import compile_subflow, compile_workflow, dumps, loads


def test_nested_functions_share_their_variables_with_the_workflow() -> None:
    async def flow() -> Any:
        total = 0

        def add(value: int) -> None:
            nonlocal total
            total += value

        def outer() -> Callable[[], int]:
            count = 0

            def inner() -> int:
                nonlocal count, total
                count += 1
                total += 100
                return count

            return inner

        inner = outer()
        add(await Leaf("a"))
        inner()
        add(await Leaf("b"))
        return total, inner(), [x + total for x in range(2)]

    assert both_ways(flow, [1, 2]) == (103, 2, [203, 204])


def test_lambdas_of_one_line_keep_their_own_code_defaults_and_variables() -> None:
    async def flow() -> Any:
        functions: list[Any]
        x, functions = 10, []
        for i in range(2):
            functions += [lambda k, i=i: (i, k, x), lambda k, *, i=i: (k, i, x), lambda k: (k, i)]  # pyright: ignore[reportUnknownLambdaType]
        await Leaf("a")
        x = 11
        return [function(5) for function in functions]

    first = [(0, 5, 11), (5, 0, 11), (5, 1)]
    assert both_ways(flow, [1]) == [*first, (1, 5, 11), (5, 1, 11), (5, 1)]


def test_a_recursive_nested_function_is_saved() -> None:
    async def flow() -> Any:
        def factorial(n: int) -> int:
            return 1 if n < 2 else n * factorial(n - 1)

        factorial.note = "kept"  # type: ignore[attr-defined]
        await Leaf("a")
        return factorial(5), factorial.note, factorial.__name__  # type: ignore[attr-defined]

    assert both_ways(flow, [1]) == (120, "kept", "factorial")


def test_a_callback_on_a_wait_shares_variables_with_the_loaded_workflow() -> None:
    async def flow() -> Any:
        total = 0

        def add(value: int) -> None:
            nonlocal total
            total += value

        await Leaf("a", add)
        return total

    branch = reloaded(suspended(compile_workflow(flow, name="flow")))
    branch.live()
    branch.leaf.callback(5)
    branch.give("send", 0)
    assert branch.result == 5


def test_a_function_given_to_a_subflow_shares_variables_with_its_maker() -> None:
    async def flow() -> Any:
        total = 0

        def add(value: int) -> None:
            nonlocal total
            total += value

        return await twice(add), total

    assert both_ways(flow, [7]) == ("done", 14)


async def _twice(add: Callable[[int], None]) -> str:
    value = await Leaf("c")
    add(value)
    add(value)
    return "done"


twice = compile_subflow(_twice, name="twice")


def test_nested_subflows_see_the_workflows_variables_and_may_recurse() -> None:
    async def flow() -> Any:
        found: list[Any] = []
        depth = 0

        @compile_subflow
        async def down(n: int) -> int:
            nonlocal depth
            depth += 1
            found.append((n, await Leaf(n)))
            return 0 if n == 0 else 1 + await down(n - 1)

        result = await down(2)
        again = await down(0)
        return result, again, found, depth

    expected = (2, 0, [(2, "a"), (1, "b"), (0, "c"), (0, "d")], 4)
    assert both_ways(flow, ["a", "b", "c", "d"]) == expected


def test_members_of_a_group_share_variables() -> None:
    async def flow() -> Any:
        seen: list[Any] = []

        @compile_subflow
        async def member(name: str) -> str:
            seen.append((name, await Leaf(name)))
            seen.append((name, await Leaf(name)))
            return name

        result = await Both(member("x"), Both(Leaf("y"), member("z")))
        return result, seen

    result = both_ways(flow, [1, 2, "y", 3, 4])
    assert result == (("x", ("y", "z")), [("x", 1), ("x", 2), ("z", 3), ("z", 4)])


def test_the_same_object_in_frames_cells_and_waits_stays_the_same() -> None:
    async def flow() -> Any:
        shared: list[Any] = []
        holder = {"shared": shared}
        keep: Callable[[], Any] = lambda: shared
        await holds(shared, holder)
        return keep() is shared, holder["shared"] is shared, shared

    assert both_ways(flow, [1]) == (True, True, [True])


async def _holds(value: list[Any], holder: dict[str, Any]) -> None:
    await Leaf("a", value.append)
    value.append(value is holder["shared"])


holds = compile_subflow(_holds, name="holds")


def test_equal_closures_of_one_function_have_their_own_surroundings() -> None:
    def make(offset: int) -> Any:
        async def flow() -> Any:
            return offset + await Leaf("a"), (lambda: offset)()

        return compile_workflow(flow, name=f"flow{offset}")

    one, two = make(1), make(2)
    assert run(one, [10], reload=True) == (11, 1)
    assert run(two, [10], reload=True) == (12, 2)


def test_variables_around_a_workflow_are_not_state() -> None:
    log: list[Any] = []
    open_file = open(__file__)  # noqa: SIM115 - cannot be saved, and need not be

    async def flow() -> Any:
        note: Callable[[Any], Any]
        note = lambda value: (open_file.name, log.append(value))  # type: ignore[func-returns-value]
        note(await Leaf("a"))
        note(await Leaf("b"))
        return len(log)

    assert run(compile_workflow(flow, name="flow"), [1, 2], reload=True) == 2
    assert log == [1, 2]
    open_file.close()


class Base:
    def greet(self, value: object) -> object:
        return ("base", value)


class Greeter(Base):
    def __init__(self) -> None:
        self.number = 1

    def greet(self, value: object) -> object:
        return ("greeter", value)

    def __private(self) -> str:
        return "private"

    async def run(self, __x: int = 3) -> Any:
        first = super().greet(await Leaf("a"))
        __y = self.__private
        second = (await Leaf("b"), __y(), (lambda: (self.number, __x))())
        return first, second, super().greet(1), [super(Greeter, self).greet(n) for n in (1,)]

    run = compile_workflow(run, name="Greeter.run")  # type: ignore[assignment]

    async def ask(self, name: str) -> Any:
        self.number += 1
        return name, await Leaf(name), self.number

    ask = compile_subflow(ask)  # type: ignore[assignment]

    async def asks(self) -> Any:
        return await self.ask("x"), await self.ask("y")

    asks = compile_workflow(asks, name="Greeter.asks")  # type: ignore[assignment]


def test_methods_keep_super_and_private_names() -> None:
    expected = (("base", 1), (2, "private", (1, 3)), ("base", 1), [("base", 1)])
    definition: Any = vars(Greeter)["run"]
    for reload in (False, True):
        assert run(definition, [1, 2], Greeter(), reload=reload) == expected


def test_a_subflow_that_is_a_method_is_bound_to_its_receiver() -> None:
    definition: Any = vars(Greeter)["asks"]
    for reload in (False, True):
        greeter = Greeter()
        assert run(definition, [5, 6], greeter, reload=reload) == (("x", 5, 2), ("y", 6, 3))
    assert vars(Greeter)["ask"].name == "Greeter.ask"


def test_methods_are_saved_by_function_and_receiver() -> None:
    greeter = Greeter()
    private = greeter._Greeter__private  # type: ignore[attr-defined]
    above = super(Greeter, greeter).greet
    bound, inherited, view = loads(dumps((private, above, super(Greeter, greeter))))
    assert bound() == "private"
    assert inherited(1) == ("base", 1)
    assert view.greet(2) == ("base", 2)
    assert bound.__self__ is inherited.__self__


def test_functions_nested_in_functions_of_a_module_are_saved() -> None:
    double, counter = make_functions(2)
    again, count = loads(dumps((double, counter)))
    assert again(4) == 8
    assert (count(), count()) == (1, 2)
    assert loads(dumps(MODULE_LAMBDA))(3) == 4


def make_functions(factor: int) -> tuple[Callable[[int], int], Callable[[], int]]:
    count = 0

    def counter() -> int:
        nonlocal count
        count += 1
        return count

    return (lambda value: value * factor), counter


MODULE_LAMBDA: Callable[[int], int] = lambda value: value + 1


def test_a_local_class_may_live_between_waits() -> None:
    async def flow() -> Any:
        x = await Leaf("a")

        class Local:
            y = x

            def get(self) -> Any:
                return x

        result = Local().get(), Local.y, Local.__qualname__.rpartition("<locals>.")[2]
        del Local
        return result, await Leaf("b")

    assert both_ways(flow, [1, 2]) == ((1, 1, "Local"), 2)


def test_a_variable_read_only_by_comprehensions_is_saved_only_while_it_is_live() -> None:
    async def flow() -> Any:
        source = open(__file__)  # noqa: SIM115
        lines = [source.readline() for _ in range(1)]
        source.close()
        factor = await Leaf("a")
        await Leaf("b")
        return len(lines), [factor * n for n in range(3)]

    assert both_ways(flow, [2, 0]) == (1, [0, 2, 4])
