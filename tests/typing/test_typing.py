"""mypy and pyright agree with the expectations written beside the lines of surface.py."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SURFACE = Path(__file__).with_name("surface.py")
PROJECT = SURFACE.with_suffix(".json")
"""The repository's settings of pyright, for the one file that they leave out."""

Findings = dict[int, tuple[list[str], list[str]]]
"""line -> (revealed types, errors)."""


def _expected() -> tuple[dict[int, str], set[int]]:
    types: dict[int, str] = {}
    errors: set[int] = set()
    for number, line in enumerate(SURFACE.read_text().splitlines(), start=1):
        if "  #: " in line:
            types[number] = line.rpartition("  #: ")[2]
        elif "  # E: " in line:
            errors.add(number)
    return types, errors


def _plain(text: str) -> str:
    """A type without the modules of its names, written in one way."""
    text = re.sub(r"\b(?:\w+\.)+(?=\w)", "", text).replace("builtins.", "")
    for before, after in (("Union[", "|["), ("Tuple[", "tuple["), ("List[", "list[")):
        text = text.replace(before, after)
    return text.strip()


def _add(found: Findings, line: int, *, revealed: str | None = None, error: str = "") -> None:
    types, errors = found.setdefault(line, ([], []))
    if revealed is not None:
        types.append(_plain(revealed))
    else:
        errors.append(error)


@cache
def _mypy() -> Findings:
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "mypy",
                "--strict",
                "--no-error-summary",
                "--hide-error-context",
            ),
            *("--no-color-output", "--no-pretty", str(SURFACE)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found: Findings = {}
    for text in done.stdout.splitlines():
        match = re.match(r".*surface\.py:(\d+): (error|note): (.*)", text)
        if match is None:
            continue
        revealed = re.match(r'Revealed type is "(.*)"', match[3])
        if revealed is not None:
            _add(found, int(match[1]), revealed=revealed[1])
        elif match[2] == "error":
            _add(found, int(match[1]), error=match[3])
    assert found, done.stdout + done.stderr
    return found


@cache
def _pyright() -> Findings:
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "--project", str(PROJECT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found: Findings = {}
    for finding in json.loads(done.stdout)["generalDiagnostics"]:
        line = int(finding["range"]["start"]["line"]) + 1
        revealed = re.match(r'Type of ".*" is "(.*)"', finding["message"], re.DOTALL)
        if revealed is not None:
            _add(found, line, revealed=revealed[1])
        elif finding["severity"] == "error" and finding.get("rule") not in _ONLY_STYLE:
            _add(found, line, error=finding["message"])
    return found


_ONLY_STYLE = (
    "reportUnusedExpression",
    "reportUnusedCoroutine",
    "reportUnknownMemberType",
    "reportUnknownVariableType",
    "reportUnknownArgumentType",
    "reportUnknownLambdaType",
    "reportUnusedParameter",
)
"""About the surface's own lines, which do nothing with what they reveal."""


@pytest.mark.parametrize("checker", [_mypy, _pyright], ids=["mypy", "pyright"])
def test_types_are_revealed_as_written(checker: Callable[[], Findings]) -> None:
    found = checker()
    types, _ = _expected()
    assert len(types) > 20
    revealed = {line: found.get(line, ([], []))[0] for line in types}
    assert {line: set(kinds) for line, kinds in revealed.items()} == {
        line: {kind} for line, kind in types.items()
    }


@pytest.mark.parametrize("checker", [_mypy, _pyright], ids=["mypy", "pyright"])
def test_mistakes_are_found_where_they_are_and_nowhere_else(
    checker: Callable[[], Findings],
) -> None:
    found = checker()
    _, errors = _expected()
    assert len(errors) > 12
    assert {line: texts for line, (_, texts) in found.items() if texts and line not in errors} == {}
    assert errors - {line for line, (_, texts) in found.items() if texts} == set()
