"""Saved trees: written flat where nothing is lost by it, pickled everywhere else, and read alike."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.kernel.bench import Bench, begun, one

from raysume import wait, workflow
from raysume.actors.kernel.branches import Branch
from raysume.actors.kernel.trees import FLAT_HEADER, save_tree, tree_of
from raysume.compiler import dumps, frames_of, loads
from raysume.errors import UsageError

HELD: list[Any] = []
"""What the next instance of `holding` keeps across its wait."""


@workflow
async def holding() -> Any:
    await wait(begun).match_any()
    held = HELD[-1]
    await wait(one, "next").match(key="a", n=1).timeout(timedelta(hours=2))
    return held


def live_tree(held: Any) -> Branch:
    """The tree of an instance that waits with this value in a variable."""
    HELD.append(held)
    bench = Bench(holding, keep_live=True)
    bench.push(begun)
    live = bench.only.live
    assert live is not None
    return live


def saved(root: Branch) -> bytes:
    return save_tree(root, origin="holding", provided={})


def shown(root: Branch) -> Any:
    """Everything that the tree consists of."""
    assert root.leaf is not None
    [frame] = frames_of(root.frozen or root.live())
    wait = root.leaf.value.__getstate__()
    return root.leaf.id, wait, frame, root.outcome, root.cancelling, root.container


ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(codec=None)),
    st.binary(),
)


@given(ATOMS)
def test_what_is_written_flat_or_pickled_comes_back_equal(held: Any) -> None:
    root = live_tree(held)
    found = shown(tree_of(saved(root)))
    assert found == shown(loads(dumps(root, origin="holding")))
    [value] = found[2].locals.values()
    assert value.__class__ is held.__class__


class Whole(int):
    """A number that is more than its value."""


@pytest.mark.parametrize("held", [5, -(2**63), 2**64 - 1, "é", b"\x00", 1.5, True, None])
def test_plain_variables_are_written_flat(held: Any) -> None:
    root = live_tree(held)
    state = saved(root)
    assert state[:2] == FLAT_HEADER
    assert len(state) < len(dumps(root, origin="holding")) / 2


@pytest.mark.parametrize("held", [2**64, "\ud800", [1], (1,), {"a": 1}, Whole(3), timedelta(1)])
def test_what_would_not_come_back_as_it_was_is_pickled(held: Any) -> None:
    root = live_tree(held)
    state = saved(root)
    assert state[:2] != FLAT_HEADER
    [value] = shown(tree_of(state))[2].locals.values()
    assert value == held
    assert value.__class__ is held.__class__


def test_an_instance_goes_on_from_either_form() -> None:
    for held in (1, [1]):
        HELD.append(held)
        bench = Bench(holding)
        bench.push(begun)
        bench.restart()
        bench.push(one, key="a", n=1)
        assert bench.result() == held


KEPT = (
    b"\xf5\x02\x9b\x93\xa7holding\xbctests.unit.kernel.test_trees\xa7holding\x02\x81\xa4held\x05"
    b"\xa31.2\x93\xa9bench.one\xb7tests.unit.kernel.bench\xb2external:bench.one\xa4next\x92\x92"
    b"\xa9input.key\xa1a\x92\xa7input.n\x01\xc2\xc2\xc2\xcf\x00\x00\x00\x01\xad'H\x00"
)
"""Saved by release 0.1.0: every later one reads it."""


def test_what_an_earlier_release_wrote_flat_is_read() -> None:
    found, wanted = shown(tree_of(KEPT)), shown(live_tree(5))
    assert found == wanted


def test_a_format_of_a_later_release_is_refused() -> None:
    with pytest.raises(UsageError, match="not in a format that this release reads"):
        tree_of(bytes([0xF5, 0x7F]) + b"whatever")
