"""The programs of the peers run where raysume and what it needs are not installed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import scale_tests.peers
from scale_tests.peers.environments import pinned

FOLDER = Path(scale_tests.peers.__file__).parent
ANYWHERE = ("scale_tests.peers.conversation", "scale_tests.peers.progress")
"""What programs may import of the driver's side."""

PEERS = {
    "dbos": {"dbos"},
    "restate": {"restate", "hypercorn", "httpx"},
    "temporal": {"temporalio"},
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            yield node.module


def is_of_python(name: str) -> bool:
    return name.split(".")[0] in sys.stdlib_module_names


@pytest.mark.parametrize("peer", PEERS)
def test_a_program_imports_only_its_peer_and_what_needs_nothing(peer: str) -> None:
    programs = sorted((FOLDER / "programs").glob(f"{peer}_*.py"))
    assert {f"{peer}_worker", f"{peer}_sender"} <= {path.stem for path in programs}
    own = {f"scale_tests.peers.programs.{path.stem}" for path in programs}
    strange = {
        name
        for path in programs
        for name in imported(path)
        if not is_of_python(name)
        and name not in own
        and name not in ANYWHERE
        and name.split(".")[0] not in PEERS[peer]
    }
    assert strange == set()


@pytest.mark.parametrize("module", ANYWHERE)
def test_what_programs_import_needs_only_the_standard_library(module: str) -> None:
    path = FOLDER / f"{module.rsplit('.', 1)[1]}.py"
    assert [name for name in imported(path) if not is_of_python(name)] == []


@pytest.mark.parametrize("peer", PEERS)
def test_every_peer_is_pinned_exactly(peer: str) -> None:
    pins = pinned(peer)
    assert all(pin.count("==") == 1 for pin in (*pins.python, *pins.brought))
    assert all("@" in pin[1:] for pin in pins.npm)
    assert all(version[0].isdigit() for version in pins.versions().values())
