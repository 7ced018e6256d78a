"""What a workflow's code tells about the methods that it may wait for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel

from raysume import any_of, external_call, subflow, wait, workflow
from raysume.compiler.awaiting import Awaited, awaited_by
from raysume.methods import Method


class Thing(BaseModel):
    """What the calls carry."""

    key: str = ""


begun = external_call("awaiting.begun", input=Thing)
more = external_call("awaiting.more", input=Thing)
other = external_call("awaiting.other", input=Thing)

BEGUN, MORE, OTHER = begun.urn, more.urn, other.urn


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
