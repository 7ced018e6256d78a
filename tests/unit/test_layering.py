"""Each folder imports only what its row allows.

The rows are the architecture: an arrow that is not here does not exist. Imports
inside functions count too, so a cycle cannot be hidden by moving it indoors.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME = "raysume"

#: folder -> (folders it may import, third-party packages it may import).
#: The deepest row that holds a module is the one that counts.
ALLOWED: dict[str, tuple[set[str], set[str]]] = {
    # _pytest: the compiler compares a test module's source after pytest's own rewriting.
    "sdk": (
        set(),
        {
            *("_pytest", "cloudpickle", "cronsim", "httpx", "msgspec", "pydantic"),
            *("pydantic_core", "structlog"),
        },
    ),
    "storage": (
        {"sdk"},
        {
            *("alembic", "cryptography", "msgspec", "psutil", "psycopg", "sqlalchemy", "sqlmodel"),
            "zstandard",
        },
    ),
    "actors/kernel": ({"sdk", "storage"}, {"msgspec", "zstandard"}),
    "actors": (
        {"sdk", "storage", "actors/kernel"},
        {"msgspec", "opentelemetry", "psutil", "ray", "structlog", "uvloop", "zstandard"},
    ),
    "sdk/testing": (
        {"sdk", "storage", "actors/kernel", "actors"},
        {"msgspec", "pydantic", "pytest"},
    ),
    "serve_apps": (
        {"sdk", "storage", "actors", "actors/kernel"},
        {
            "click",
            "fastapi",
            "httpx",
            "jsonschema_rs",
            "msgspec",
            "psutil",
            "pydantic",
            "ray",
            "rich",
            "starlette",
            "structlog",
            "uvicorn",
            "uvloop",
            "watchfiles",
        },
    ),
}


def _row_of(path: str) -> str:
    """The deepest row that holds the file or module at `path` (from the repository's root)."""
    holding = [row for row in ALLOWED if path == row or path.startswith(f"{row}/")]
    return max(holding, key=len)


def _modules(row: str) -> list[Path]:
    found = (ROOT / row).rglob("*.py")
    return sorted(path for path in found if _row_of(str(path.relative_to(ROOT))) == row)


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            # "from raysume import storage" names a folder; keep both halves.
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def _row_imported(dotted: str) -> str:
    """`raysume.storage.ports.Store` is in row storage, `raysume.client` in row sdk."""
    inner = dotted.split(".")[1:]
    top = inner[0] if inner else ""
    path = "/".join(inner) if top in ALLOWED and top != "sdk" else "/".join(("sdk", *inner))
    return _row_of(path)


def _offences(row: str) -> Iterator[str]:
    rows, third_party = ALLOWED[row]
    for path in _modules(row):
        for line, dotted in _imports(path):
            root = dotted.split(".")[0]
            where = f"{path.relative_to(ROOT)}:{line}"
            if root == NAME:
                target = _row_imported(dotted)
                if target != row and target not in rows:
                    yield f"{where}: {row} may not import {target} ({dotted})"
            elif root not in sys.stdlib_module_names and root not in third_party:
                yield f"{where}: {row} may not depend on {root}"


@pytest.mark.parametrize("row", ALLOWED)
def test_a_folder_imports_only_what_its_row_allows(row: str) -> None:
    assert _modules(row), f"no modules under {row}: the check would be vacuous"
    offences = list(_offences(row))
    assert offences == [], "\n".join(offences)


def test_the_rows_have_no_cycle() -> None:
    done: set[str] = set()
    while len(done) < len(ALLOWED):
        ready = {row for row, (below, _) in ALLOWED.items() if row not in done and below <= done}
        assert ready, f"a cycle among {sorted(set(ALLOWED) - done)}"
        done |= ready


def test_everything_that_is_imported_is_a_dependency_of_its_own() -> None:
    """What only comes along with something else may be gone after its next release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[\[<>=;! ]", text)[0].lower() for text in project["dependencies"]}
    imported = {name for _, names in ALLOWED.values() for name in names}
    # pytest is there whenever its plugin is; pydantic_core is part of pydantic; psycopg is of the
    # extra `postgres`, opentelemetry of the extra `otel`, and whoever lacks one is told so.
    assert {name.replace("_", "-") for name in imported - OPTIONAL} <= declared


OPTIONAL = {"_pytest", "opentelemetry", "psycopg", "pytest", "pydantic_core"}
