"""Saved trees of instances as bytes, and back.

Most instances wait at one wait with numbers and texts in their variables. Such a tree is written
flat, as MessagePack of what it consists of; every other one is pickled, so that identity and
sharing survive. Reading takes either: which it is, says the header.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import msgspec

from raysume import registry
from raysume.actors.kernel.branches import Branch, WaitLeaf
from raysume.actors.kernel.moments import duration_us
from raysume.compiler import dumps, freeze, loads
from raysume.compiler.definitions import Definition
from raysume.compiler.finding import definition_of
from raysume.compiler.giving import Provided
from raysume.compiler.states import FrameState, Frozen
from raysume.waits import Wait

FLAT_HEADER: Final = bytes([0xF5, 0x02])
"""The second format of saved values; the first is that of `raysume.compiler.dumps`."""

_ATOMS: Final = frozenset({int, str, float, bool, type(None), bytes})
"""Types whose values have no identity that could be shared, and come back from MessagePack as
they were."""


class FlatTree(msgspec.Struct, array_like=True, frozen=True):
    """An instance that is suspended at one wait, in code that was not called by other code."""

    definition: tuple[str, str, str]
    """Name, module and qualified name of the durable function."""
    point: int
    local: dict[str, Any]
    leaf: str
    method: tuple[str, str, str]
    """URN, module and qualified name of what is waited for."""
    name: str | None
    fields: tuple[tuple[str, Any], ...]
    matches_any: bool
    from_now: bool
    is_exclusive: bool
    limit_us: int | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(FlatTree).decode


def save_tree(root: Branch, *, origin: str, provided: Provided) -> bytes:
    """The tree as bytes that `tree_of` turns into an equal one.

    Args:
        origin: what is saved, for messages.
        provided: by id, the values that `Depends` makes again.

    Raises:
        UnsavableState: part of it cannot be saved; says which variable, where, and the remedy.
    """
    return _flat(root) or dumps(root, origin=origin, provided=provided)


def tree_of(state: bytes) -> Branch:
    """The tree that was saved.

    Raises:
        UsageError: it was saved in a format that this release does not know, or by code that is
            not here.
    """
    flat = flat_tree(state)
    if flat is None:
        root: Branch = loads(state)
        return root
    wait: Wait[Any] = Wait(registry.require(*flat.method), flat.name)
    wait.fields = flat.fields
    wait.matches_any = flat.matches_any
    wait.is_exclusive = flat.is_exclusive
    if flat.from_now:
        wait.mailbox = "from_now"
    if flat.limit_us is not None:
        wait.limit = timedelta(microseconds=flat.limit_us)
    made = Branch(None)
    made.frozen = Frozen((frame_of(flat),), wait)
    made.leaf = WaitLeaf(flat.leaf, wait)
    return made


def flat_tree(state: bytes) -> FlatTree | None:
    """The tree as it was written flat; None when it was pickled."""
    return _decode(memoryview(state)[2:]) if state[:2] == FLAT_HEADER else None


def frame_of(flat: FlatTree) -> FrameState:
    """The frame of a tree that was written flat.

    Raises:
        UsageError: its code is not here.
    """
    return FrameState(definition_of(*flat.definition), flat.point, flat.local)


def flat_state(frame: FrameState, leaf_id: str, wait: Wait[Any]) -> bytes | None:
    """A tree of one frame that is suspended at a plain wait, written flat; None: it is pickled.

    Args:
        wait: see `is_plain`.
    """
    definition: Definition = frame.definition
    if frame.cells or not definition.stands_alone:
        return None
    if not _ATOMS.issuperset(map(type, frame.local.values())):
        return None
    method = wait.method
    flat = FlatTree(
        (definition.name, *definition.place),
        frame.point,
        frame.local,
        leaf_id,
        (method.urn, method.module, method.qualname),
        wait.name,
        wait.fields,
        wait.matches_any,
        wait.mailbox == "from_now",
        wait.is_exclusive,
        None if wait.limit is None else duration_us(wait.limit),
    )
    try:
        return FLAT_HEADER + _encode(flat)
    except (OverflowError, UnicodeEncodeError):  # a long number, or half a character
        return None


def is_plain(wait: Wait[Any]) -> bool:
    """Whether the wait consists of nothing but numbers and texts."""
    if wait.predicate is not None or wait.on_match is not None or wait.on_cancel is not None:
        return False
    if wait.mailbox.__class__ is not str:
        return False
    return all(value.__class__ in _ATOMS for _, value in wait.fields)


def asks_the_same(flat: FlatTree, wait: Wait[Any]) -> bool:
    """Whether a plain wait for the same method asks for the same calls as the one written flat."""
    return bool(wait.fields) and wait.fields == flat.fields


def _flat(root: Branch) -> bytes | None:
    """The tree written flat; None when it has to be pickled."""
    leaf = root.leaf
    if not isinstance(leaf, WaitLeaf) or root.container is not None or root.cancelling:
        return None
    wait: Wait[Any] = leaf.value
    if not is_plain(wait) or root.outcome is not None or root.value is not None:
        return None
    frozen = root.frozen if root.coroutine is None else freeze(root.coroutine)
    if frozen is None or len(frozen.frames) != 1 or root.subflow or root.subflows:
        return None
    return flat_state(frozen.frames[0], leaf.id, wait)
