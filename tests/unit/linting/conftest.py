"""Modules of users, written to files and looked at."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

from raysume.actors.loading import Target, load_module
from raysume.linting import Finding, findings_in, imported
from raysume.linting.findings import in_order

_numbers = itertools.count()

BEGINNING = """\
from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta, UTC

from pydantic import BaseModel

from raysume import Container, all_of, any_of, external_call, group, push_call, sleep, step
from raysume import subflow, wait, workflow


class Order(BaseModel):
    id: int
    tags: list[str] = []


class Payment(BaseModel):
    order: int
    is_final: bool = True
    amount: int
    payer: str = ""
    parent: int | None = None
    lines: list[int] = []


@push_call("{name}.submitted")
def submit(order: Order, user: str) -> bool:
    return True


paid = external_call("{name}.paid", input=Payment, output=bool)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A module that was written."""

    file: Path
    text: str

    def line_of(self, part: str) -> int:
        """The number of the only line that contains the text."""
        [found] = [n for n, line in enumerate(self.text.splitlines(), 1) if part in line]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Linted:
    """A module that was looked at."""

    written: Written
    module: ModuleType | None
    findings: list[Finding]

    @property
    def rules(self) -> list[tuple[str, str]]:
        """(rule, severity) of what was found, by place."""
        return [(one.rule, one.severity) for one in self.findings]

    def only(self) -> Finding:
        """The only finding."""
        [found] = self.findings
        return found


Write = Callable[[str], Written]
Lint = Callable[[str], Linted]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a module that begins with methods to wait for."""

    def write(body: str) -> Written:
        name = f"linted_{next(_numbers)}"
        text = f"{BEGINNING.replace('{name}', name)}\n\n{dedent(body)}"
        file = tmp_path / f"{name}.py"
        file.write_text(text, encoding="utf-8")
        return Written(file=file, text=text)

    return write


@pytest.fixture
def lint(write: Write) -> Lint:
    """Looks at a module with this text behind methods to wait for."""

    def lint(body: str) -> Linted:
        written = write(body)
        target = Target.of(written.file)
        became = imported(lambda: load_module(target), name=target.module)
        found = [] if became.module is None else findings_in(became.module)
        return Linted(
            written=written,
            module=became.module,
            findings=in_order([*found, *became.findings]),
        )

    return lint


@pytest.fixture(autouse=True)
def _imports() -> Iterator[None]:
    """The module path is what it was, and the modules of the test are gone."""
    path, known = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - known:
        if name.startswith("linted_"):
            del sys.modules[name]
