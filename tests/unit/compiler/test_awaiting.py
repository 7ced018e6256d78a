"""What a workflow's code tells about the methods that it may wait for."""

from __future__ import annotations

import collections
import functools
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from raysume import Container, any_of, external_call, subflow, wait, workflow
from raysume.compiler.awaiting import Awaited, awaited_by
from raysume.methods import Method


class Thing(BaseModel):
    """What the calls carry."""

    key: str = ""


begun = external_call("awaiting.begun", input=Thing)
more = external_call("awaiting.more", input=Thing)
other = external_call("awaiting.other", input=Thing)

distant = external_call("awaiting.distant", input=Thing)

awaiting_calls: Any = ModuleType("awaiting_package.calls")
awaiting_calls.distant = distant
awaiting_package: Any = ModuleType("awaiting_package")
awaiting_package.calls = awaiting_calls
del distant

BEGUN, MORE, OTHER, DISTANT = begun.urn, more.urn, other.urn, "awaiting.distant"


def a_wait(key: str) -> Any:
    """Built by a helper."""
    return wait(more).match(key=key)


@subflow
async def asking(key: str) -> None:
    """Waits, too."""
    await wait(more).match(key=key)


@workflow(name="awaiting.once_each")
async def once_each() -> None:
    first = await wait(begun).match_any()
    await wait(more).match(key=first.input.key)


@workflow(name="awaiting.looping")
async def looping() -> None:
    while True:
        await wait(begun).match_any()


@workflow(name="awaiting.named_twice")
async def named_twice() -> None:
    first = await wait(begun).match_any()
    await any_of(wait(more).match(key=first.input.key), wait(begun).match(key="x"))


@workflow(name="awaiting.kept")
async def kept() -> None:
    one = wait(begun).match_any()
    await one
    await one


@workflow(name="awaiting.helped")
async def helped() -> None:
    first = await wait(begun).match_any()
    await a_wait(first.input.key)
    await asking(first.input.key)


@workflow(name="awaiting.exclusively")
async def exclusively() -> None:
    await wait(begun).match_any().exclusive()


@workflow(name="awaiting.hidden")
async def hidden() -> None:
    first = await wait(begun).match_any()
    hidden_one: Method = globals()["mo" + "re"]
    await wait(hidden_one).match(key=first.input.key)


@workflow(name="awaiting.nested")
async def nested() -> None:
    async def _unused() -> None:  # pyright: ignore[reportUnusedFunction]
        await wait(other).match(key="x")

    make: Callable[[], Awaitable[Any]] = lambda: wait(more).match(key="x")
    await wait(begun).match_any()
    await make()


class Desk(Container):
    """Waits in a subflow of its own."""

    @workflow(name="awaiting.desk")
    async def serve(self) -> None:
        first = await wait(begun).match_any()
        await self.ask(first.input.key)

    @subflow
    async def ask(self, key: str) -> None:
        """Waits, too."""
        await wait(more).match(key=key)


class Kept:
    """Holds a method where no dictionary shows it."""

    __slots__ = ("method",)

    def __init__(self, method: Method) -> None:
        self.method = method


def wait_for(method: Method, key: str) -> Any:
    """Built for whatever method it is given."""
    return wait(method).match(key=key)


wait_for_more = functools.partial(wait_for, more)
slotted = Kept(more)
queued = collections.deque([more])


@workflow(name="awaiting.partial")
async def by_partial() -> None:
    first = await wait(begun).match_any()
    await wait_for_more(first.input.key)


@workflow(name="awaiting.slotted")
async def by_slot() -> None:
    first = await wait(begun).match_any()
    await wait(slotted.method).match(key=first.input.key)


@workflow(name="awaiting.queued")
async def by_queue() -> None:
    first = await wait(begun).match_any()
    await wait(queued[0]).match(key=first.input.key)


@workflow(name="awaiting.module_in_package")
async def by_module_in_package() -> None:
    first = await wait(begun).match_any()
    found: Method = awaiting_package.calls.distant
    await wait(found).match(key=first.input.key)


@pytest.mark.parametrize(
    ("of", "named", "once", "is_exclusive"),
    [
        (once_each, {BEGUN, MORE}, {BEGUN, MORE}, False),
        (looping, {BEGUN}, set[str](), False),
        (named_twice, {BEGUN, MORE}, {MORE}, False),
        (kept, {BEGUN}, set[str](), False),
        (helped, {BEGUN, MORE}, {BEGUN}, False),
        (exclusively, {BEGUN}, {BEGUN}, True),
        (nested, {BEGUN, MORE, OTHER}, {BEGUN}, False),
        (Desk.serve, {BEGUN, MORE}, {BEGUN}, False),
        (by_partial, {BEGUN, MORE}, {BEGUN}, False),
        (by_slot, {BEGUN, MORE}, {BEGUN}, False),
        (by_queue, {BEGUN, MORE}, {BEGUN}, False),
        (by_module_in_package, {BEGUN, DISTANT}, {BEGUN}, False),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_methods_that_a_workflow_names_are_found_with_how(
    of: Any, named: set[str], once: set[str], is_exclusive: bool
) -> None:
    assert awaited_by(of.definition) == Awaited(
        named=frozenset(named), once=frozenset(once), is_exclusive=is_exclusive
    )


def test_code_that_hides_what_it_waits_for_may_wait_for_anything() -> None:
    assert awaited_by(hidden.definition) == Awaited(named=None, once=frozenset(), is_exclusive=True)
