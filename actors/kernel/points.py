"""The saved points of an instance's past: which one is meant by a wait's name, a line or a turn."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from pathlib import PurePath

from raysume import limits
from raysume.actors.kernel.branches import Branch, GroupLeaf
from raysume.actors.kernel.records import InstanceRecord, Place
from raysume.actors.kernel.status import Status
from raysume.actors.kernel.trees import tree_of
from raysume.compiler import FrameView, frames_of
from raysume.errors import NotFound

_STANDING = frozenset({Status.WAITING.value, Status.RUNNING.value})
_NAMED_MAX = 20
"""Points that a refusal names."""


def find_point(
    past: Iterable[InstanceRecord], to: str | int | None, *, open_now: Collection[str] = ()
) -> InstanceRecord:
    """The newest record at which the instance stood where `to` says.

    Args:
        past: the records of the instance, newest first.
        to: a wait's name, the URN of its method, the name of a step or of an awaited workflow;
            `function:line` or `file:line` of where it stood; or the number of a turn. None: the
            newest record at which it stood anywhere.
        open_now: ids of waits and steps at which the instance stands now: a record that shows
            nothing but these would change nothing.

    Raises:
        NotFound: it never stood there; says where it did.
    """
    known: dict[str, int] = {}
    for record in past:
        if record.state is None or record.undoing is not None or record.status not in _STANDING:
            continue
        if to is None or _is_turn(to, record.turn):
            return record
        places = _places(record, deep=isinstance(to, str) and ":" in to)
        if any(name == to and id not in open_now for name, id in places):
            return record
        for name, _ in places:
            known.setdefault(name, record.turn)
    raise NotFound(_never_there(to, known))


def record_before(
    past: Iterable[tuple[Place, InstanceRecord]], place: Place
) -> InstanceRecord | None:
    """Where the instance stood before a call; None: not there yet, over, or too long ago.

    Args:
        past: the records of the instance, newest first, each with the newest call applied by then.
        place: of the call.
    """
    for newest, record in islice(past, limits.HISTORY_LOOK_TURNS_MAX):
        if newest < place:
            return record if record.status in _STANDING else None
    return None


def _is_turn(to: str | int, turn: int) -> bool:
    return to == turn if isinstance(to, int) else to.isdecimal() and int(to) == turn


def _places(record: InstanceRecord, *, deep: bool) -> list[tuple[str, str]]:
    """(name, id) of everything at which the record stands."""
    found: list[tuple[str, str]] = []
    for wait in record.waits:
        found += [(name, wait.id) for name in (wait.name, wait.method) if name is not None]
    found += [(step.name, step.id) for step in record.steps]
    found += [(child.workflow, child.leaf) for child in record.children if not child.cancelled]
    if deep and record.state is not None:
        found += [(place, f"turn {record.turn}") for place in lines_of(tree_of(record.state))]
    return found


def lines_of(root: Branch) -> Iterator[str]:
    """Where the frames of the tree stand: as function:line, file:line and path:line."""
    for frame in tree_frames(root):
        yield f"{frame.definition}:{frame.line}"
        yield f"{PurePath(frame.file).name}:{frame.line}"
        yield f"{frame.file}:{frame.line}"


def tree_frames(branch: Branch) -> Iterator[FrameView]:
    """The frames of a branch, outermost first, and then those of the members of its group."""
    code = branch.coroutine or branch.frozen
    if code is not None:
        yield from frames_of(code)
    if isinstance(branch.leaf, GroupLeaf):
        for member in branch.leaf.branches:
            yield from tree_frames(member)


def _never_there(to: str | int | None, known: dict[str, int]) -> str:
    named = ", ".join(f"{name!r} (turn {turn})" for name, turn in list(known.items())[:_NAMED_MAX])
    told = f"Its past has: {named}." if named else "Its past has no saved point that is kept."
    what = "at any wait" if to is None else f"at {str(to)[:200]!r}, other than where it stands now"
    return f"the instance never stood {what}. {told} Its history shows every turn."
