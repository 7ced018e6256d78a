"""What a module deploys, when several places declare one URN; and what is known after a reload."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from raysume import Container, configure, external_call, push_call, registry, wait, workflow
from raysume.deployments import collect, deployment
from raysume.methods import Method


class Given(BaseModel):
    """What the methods of these tests take."""

    n: int


stub = external_call("deployments.counted", input=Given, output=int)


@push_call("deployments.counted")
def count(n: int) -> int:
    return n


@push_call("deployments.counted", local_only=True)
def count_here(n: int) -> int:
    return n


@pytest.mark.parametrize("methods", [[stub, count], [count, stub]])
def test_an_implementation_says_whose_a_method_is_and_a_stub_does_not(
    methods: list[Method],
) -> None:
    found = deployment([], methods)
    assert found.methods == {"deployments.counted": count}
    assert set(found.declared) == {stub, count}


def test_what_is_local_only_anywhere_is_local_only() -> None:
    assert deployment([], [stub, count, count_here]).methods["deployments.counted"] is count_here
    assert registry.owner("deployments.counted") is count_here
    assert registry.owner("deployments.nowhere") is None


def test_a_module_deploys_every_declaration_that_it_can_see() -> None:
    module = ModuleType("deployments_seeing")
    vars(module).update(stub=stub, count=count)
    found = collect(module)
    assert {stub, count, count_here} <= set(found.declared)
    assert len(found.declared) == len(set(found.declared))


def test_a_module_that_is_loaded_again_may_rename_a_function_and_change_it(tmp_path: Path) -> None:
    name, file = "deployments_renaming", tmp_path / "renaming.py"
    source = "from raysume import push_call\n@push_call('deployments.renamed')\n"
    file.write_text(source + "def old(n: int) -> None: ...\n", encoding="utf-8")
    kept = runpy.run_path(str(file), run_name=name)
    registry.forget_module(name)
    assert registry.lookup("deployments.renamed") is None
    file.write_text(source + "def new(text: str) -> None: ...\n", encoding="utf-8")
    kept = runpy.run_path(str(file), run_name=name)
    assert registry.lookup("deployments.renamed") is kept["new"]
    registry.forget_module(name)


class Base(Container):
    """Of this module."""

    @workflow
    async def run(self) -> None:
        """Waits."""
        await wait(count).match_any()


def test_a_workflow_is_of_the_configured_service_else_of_its_top_package() -> None:
    derived: Any = type("Derived", (Base,), {"__module__": "elsewhere.inside"})
    assert (Base.run.service, derived.run.service) == ("tests", "elsewhere")
    configure(service="shop")
    try:
        assert (Base.run.service, derived.run.service, count.service) == ("shop",) * 3
    finally:
        configure(service=None)
