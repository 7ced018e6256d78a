"""The house style as far as a machine can see it. Exceptions carry a reason and may only shrink."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("sdk", "storage", "actors", "serve_apps", "examples", "scale_tests")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

#: file -> (lines it may have, why it is one thing). Lower the number when the file shrinks;
#: the entry goes when the file is within the limit. A new entry needs a reason that a
#: stranger would accept.
LONG_FILES: dict[str, tuple[int, str]] = {
    "sdk/limits.py": (600, "a catalogue: every bound with its reason in one place, no code"),
}

#: "file::function" -> (lines it may have, docstring left out; why it is one thing).
LONG_FUNCTIONS: dict[str, tuple[int, str]] = {}

#: Names that say nothing about what is inside.
EMPTY_NAMES = {
    *("base", "common", "constants", "helper", "helpers", "manager", "managers"),
    *("misc", "types", "util", "utils"),
}


@cache
def _files() -> tuple[Path, ...]:
    found = [path for folder in (*PRODUCT, "tests") for path in (ROOT / folder).rglob("*.py")]
    return tuple(sorted(found))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _functions(
    body: list[ast.stmt], prefix: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function that is not inside another one, with its dotted name."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}", node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{prefix}{node.name}.")


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring: explaining more is never punished."""
    docstring = 0
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        docstring = (first.end_lineno or 0) - first.lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def _against(
    measured: dict[str, int], limit: int, allowed: dict[str, tuple[int, str]]
) -> list[str]:
    """What is over the limit without an entry, over its entry, or has an entry for nothing."""
    offences: list[str] = []
    for name, lines in measured.items():
        most, _ = allowed.get(name, (limit, ""))
        if lines > most:
            offences.append(f"{name} has {lines} lines, {most} are allowed: split it")
    for name, (_, reason) in allowed.items():
        if measured.get(name, 0) <= limit:
            offences.append(f"{name} is within {limit} lines: take its entry out")
        if len(reason.split()) < 4:
            offences.append(f"{name} needs a reason")
    return offences


def test_files_are_short() -> None:
    measured = {
        _name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in _files()
    }
    offences = _against(measured, FILE_LINES_MAX, LONG_FILES)
    assert offences == [], "\n".join(offences)


def test_functions_are_short() -> None:
    measured = {
        f"{_name(path)}::{name}": _lines(function)
        for path in _files()
        for name, function in _functions(_tree(path).body)
    }
    offences = _against(measured, FUNCTION_LINES_MAX, LONG_FUNCTIONS)
    assert offences == [], "\n".join(offences)


@pytest.mark.parametrize("folder", PRODUCT)
def test_names_of_files_say_what_is_inside(folder: str) -> None:
    banned = EMPTY_NAMES | set(sys.stdlib_module_names)
    parts = {
        (part.removesuffix(".py"), _name(path))
        for path in (ROOT / folder).rglob("*.py")
        for part in path.relative_to(ROOT / folder).parts
    }
    assert sorted(where for part, where in parts if part in banned) == []


def _sleeps(path: Path) -> Iterator[str]:
    for node in ast.walk(_tree(path)):
        match node:
            case ast.ImportFrom(module="time" | "asyncio", names=names):
                if any(alias.name == "sleep" for alias in names):
                    yield f"{_name(path)}:{node.lineno}: import the module, not sleep"
            case ast.Call(func=ast.Attribute(value=ast.Name("asyncio"), attr="sleep"), args=args):
                # sleep(0) gives the event loop one round: it waits for nothing.
                if not (args and isinstance(args[0], ast.Constant) and args[0].value == 0):
                    yield f"{_name(path)}:{node.lineno}: asyncio.sleep"
            case ast.Call(func=ast.Attribute(value=ast.Name("time"), attr="sleep")):
                yield f"{_name(path)}:{node.lineno}: time.sleep"
            case _:
                pass


def test_no_test_sleeps() -> None:
    """Tests wait for signals or conditions: a sleep is too short on a busy machine, else too long."""
    found = [line for path in _files() if "tests" in path.parts for line in _sleeps(path)]
    assert found == [], "\n".join(found)


def test_the_ratchet_itself_can_fail() -> None:
    assert _against({"a.py": 401}, 400, {}) == ["a.py has 401 lines, 400 are allowed: split it"]
    assert _against({"a.py": 399}, 400, {"a.py": (450, "one long table of codes")}) != []
    assert _against({"a.py": 450}, 400, {"a.py": (450, "one long table of codes")}) == []
    assert _against({"a.py": 451}, 400, {"a.py": (450, "one long table of codes")}) != []
