"""The package list in pyproject.toml names every package folder, and no other."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NAME = "raysume"
FOLDERS = ("sdk", "actors", "serve_apps", "storage")

#: What `import raysume` may never load: each takes longer than everything raysume needs.
HEAVY = (
    "alembic",
    "fastapi",
    "httpx",
    "jsonschema_rs",
    "numpy",
    "pandas",
    "ray",
    "rich",
    "sqlalchemy",
    "sqlite3",
    "sqlmodel",
    "starlette",
    "uvicorn",
)


def _config() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _on_disk() -> set[str]:
    found = set[str]()
    for folder in FOLDERS:
        prefix = NAME if folder == "sdk" else f"{NAME}.{folder}"
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join((prefix, *parts)))
    return found


def test_every_package_folder_is_declared() -> None:
    assert set(_config()["tool"]["setuptools"]["packages"]) == _on_disk()


def test_every_folder_with_modules_is_a_package() -> None:
    bare = {
        str(module.parent.relative_to(ROOT))
        for folder in FOLDERS
        for module in (ROOT / folder).rglob("*.py")
        if not (module.parent / "__init__.py").exists()
    }
    assert bare - _data_folders() == set()


def _data_folders() -> set[str]:
    """Alembic's folders hold scripts that it loads by path: they are data, not packages."""
    return {
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for migrations in (ROOT / folder).rglob("migrations")
        for path in (migrations, migrations / "versions")
    }


def _names(requirements: list[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", text) for text in requirements)
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def test_every_dependency_is_pinned_and_no_pin_is_a_url() -> None:
    project = _config()["project"]
    wanted = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        wanted += extra
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9A-Za-z.]+", pin)] == []
    assert _names(wanted) - _names(pins) == set()


def test_importing_raysume_loads_no_cluster_database_or_web_framework() -> None:
    """Prints the time it took, which a busy machine may stretch: shown, not asserted."""
    code = (
        "import sys, time\n"
        "begun = time.perf_counter()\n"
        "import raysume\n"
        "print(time.perf_counter() - begun)\n"
        f"print(*sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    seconds, loaded = done.stdout.splitlines()
    print(f"import raysume: {float(seconds):.3f} s")
    assert loaded.split() == []
