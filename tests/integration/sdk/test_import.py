"""`import raysume` is cheap, and gives everything it names."""

from __future__ import annotations

import subprocess
import sys

import raysume

HEAVY = (
    *("ray", "sqlalchemy", "sqlmodel", "psycopg", "sqlite3", "fastapi", "starlette"),
    *("uvicorn", "httpx", "click", "rich", "alembic", "cryptography"),
)


def loaded_after(program: str) -> set[str]:
    """The top modules that a fresh interpreter has loaded after running `program`."""
    text = f"import sys\n{program}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_raysume_loads_nothing_heavy() -> None:
    assert loaded_after("import raysume").isdisjoint({*HEAVY, "pydantic"})


def test_what_a_workflow_author_uses_loads_nothing_heavy() -> None:
    names = "push_call, external_call, wait, sleep, step, all_of, any_of, group, Retry, instance"
    program = (
        f"from raysume import {names}, workflow, subflow, configure, Call\nimport raysume.matching"
    )
    loaded = loaded_after(program)
    assert "pydantic" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_everything_named_is_there() -> None:
    for name in dir(raysume):
        assert getattr(raysume, name) is not None
