"""Programs of a few modules, written to files and imported."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from raysume import registry
from raysume.versions.digests import Digests, digests_of
from raysume.workflows import Workflow

_numbers = itertools.count()

APPROVAL = '''
from raysume import push_call, subflow, wait, workflow
from rules import limit_of, LIMIT

GRACE = 3
NAMES = ["ann"]


@push_call("approvals.asked")
def asked(id: str, amount: int) -> None: ...


@push_call("approvals.answered")
def answered(id: str, ok: bool = True) -> None: ...


def worded(ok, *, mark="!"):
    """How it is said."""
    return ("yes" if ok else "no") + mark


@subflow
async def answer_to(id: str) -> bool:
    call = await wait(answered).match(id=id)
    return call.input.ok


@workflow
async def approval() -> str:
    call = await wait(asked).match_any()
    tries = 0
    while tries < GRACE:
        if call.input.amount > limit_of(call.input.id) or await answer_to(call.input.id):
            return worded(True)
        tries += 1
    return worded(False)


def unused() -> int:
    return 1
'''

RULES = """
from math import floor

LIMIT = 100
OTHER = 7


def rounded(value):
    return floor(value)


def limit_of(name: str, extra: int = 0) -> int:
    return rounded(LIMIT) + extra


def nobody_calls_me() -> int:
    return OTHER
"""


def digests(
    folder: Path, files: Mapping[str, str], *, main: str = "approvals", name: str = "approval"
) -> Digests:
    """The digests of a workflow of modules that have just been written and imported.

    Args:
        files: module -> its text.
        main: the module that defines the workflow.
        name: the workflow's.
    """
    place = folder / f"program{next(_numbers)}"
    for module, text in files.items():
        path = place.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    before = set(sys.modules)
    sys.path.insert(0, str(place))
    importlib.invalidate_caches()
    try:
        found = importlib.import_module(main)
        for part in name.split("."):
            found = getattr(found, part)
        assert isinstance(found, Workflow)
        return digests_of(found.definition)
    finally:
        sys.path.remove(str(place))
        for module in set(sys.modules) - before:
            if module.partition(".")[0] in {each.partition(".")[0] for each in files}:
                del sys.modules[module]
                registry.forget_module(module)
