"""Every row of the table of behaviours is shown by a test that is marked with its number."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]

#: The numbers of the table; those in between were never given.
ROWS = {
    "core flow": range(1, 14),
    "subflows": (14, 15, 16, 18, 19, 20, 21, 22),
    "going back": (23, 24, 25, 26, 27, 29, 30),
    "cancelling, time, errors": range(31, 43),
    "matching and routing": range(43, 57),
    "services, external calls, housekeeping": range(57, 66),
    "business samples": (66, 68, 69, 70, 72, 74, 76, 77, 78, 79),
}


def _marked(tree: ast.Module) -> Iterator[int]:
    """The rows that decorators of the module's tests name."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            match decorator:
                case ast.Call(func=func, args=args) if ast.unparse(func) == "pytest.mark.row":
                    assert node.name.startswith("test_"), f"{node.name} is no test"
                    yield from (ast.literal_eval(argument) for argument in args)
                case _:
                    pass


def test_every_row_has_a_test() -> None:
    shown: set[int] = set()
    for path in TESTS.rglob("test_*.py"):
        shown |= set(_marked(ast.parse(path.read_text(encoding="utf-8"))))
    wanted = {row for rows in ROWS.values() for row in rows}
    assert shown == wanted


def test_marks_are_found() -> None:
    found = "@pytest.mark.row(3, 4)\nasync def test_it(): ...\n\ndef test_other(): ...\n"
    assert list(_marked(ast.parse(found))) == [3, 4]
