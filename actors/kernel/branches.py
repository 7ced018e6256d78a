"""The tree of an instance: branches of code, and the leaves at which they are suspended.

A branch is one line of execution: the workflow itself, or a member of a group. What it
is suspended on is its leaf; a group's leaf owns the members' branches. The whole tree,
frames and callbacks included, is one pickle graph, so that identity and sharing survive.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Literal

from raysume.children import ChildCall
from raysume.compiler import Frozen, freeze, subflows_of, thaw
from raysume.durable import Durable
from raysume.errors import InvariantViolated
from raysume.groups import Group
from raysume.steps import Step
from raysume.undoing import Undo
from raysume.waits import Sleep, Wait

if TYPE_CHECKING:
    from raysume.containers import Container


@dataclass(slots=True, frozen=True)
class Outcome:
    """How a branch or a leaf ended."""

    kind: Literal["result", "error", "cancelled"]
    value: Any = None
    """The result or the exception."""


@dataclass(slots=True, eq=False)
class WaitLeaf:
    """A wait that no call has met yet."""

    id: str
    value: Wait[Any]


@dataclass(slots=True, eq=False)
class SleepLeaf:
    """A sleep whose timer is not due yet."""

    id: str
    value: Sleep


@dataclass(slots=True, eq=False)
class StepLeaf:
    """A step whose result is not recorded yet."""

    id: str
    value: Step[Any]
    attempt: int = 1

    @property
    def step(self) -> Step[Any]:
        """What runs."""
        return self.value


@dataclass(slots=True, eq=False)
class UndoLeaf:
    """An `undo()` that is at one of its compensations."""

    id: str
    value: Undo
    step: Step[Any]
    """The compensation."""
    of: str
    """Id of the step that it undoes."""
    attempt: int = 1


@dataclass(slots=True, eq=False)
class ChildLeaf:
    """A child workflow whose end is not known yet."""

    id: str
    value: ChildCall


@dataclass(slots=True, eq=False)
class GroupLeaf:
    """A group that is not decided, or whose losers are still unwinding."""

    id: str
    value: Group[Any]
    branches: list[Branch]
    finished: list[int]
    """Indexes of the members that ended by themselves, in the order in which they did."""
    seen: int = 0
    """How many of `finished` the filter of an `until` group has seen."""
    decided: Outcome | None = None


Leaf = WaitLeaf | SleepLeaf | StepLeaf | UndoLeaf | ChildLeaf | GroupLeaf


class Branch:
    """One line of execution: code (a workflow or subflow), or a bare durable member of a group."""

    __slots__ = (
        "cancelling",
        "container",
        "coroutine",
        "frozen",
        "leaf",
        "outcome",
        "subflow",
        "subflows",
        "subflows_saved",
        "value",
    )

    def __init__(self, value: Durable | None) -> None:
        self.value = value
        """What to start; None once it has started."""
        self.coroutine: CoroutineType[Any, Any, Any] | None = None
        self.frozen: Frozen | None = None
        """The suspended code as loaded, until somebody needs it running."""
        self.leaf: Leaf | None = None
        self.outcome: Outcome | None = None
        self.cancelling = False
        self.subflow: str | None = None
        """The id of the subflow that the branch is, as a member of a group."""
        self.subflows: list[tuple[str, CoroutineType[Any, Any, Any]]] = []
        """The subflows that the code is inside of, outermost first: (id, coroutine)."""
        self.subflows_saved: tuple[str, ...] = ()
        """Their ids, as loaded, until somebody needs the code running."""
        self.container: Container | None = None
        """The object of the workflow's class; at the root only."""

    @property
    def is_code(self) -> bool:
        """Whether the branch has code of its own that goes on when its leaf ends."""
        return self.coroutine is not None or self.frozen is not None

    def live(self) -> CoroutineType[Any, Any, Any]:
        """The branch's coroutine, entered at its saved point if it was loaded and not yet run."""
        if self.coroutine is None:
            if self.frozen is None or self.leaf is None:
                raise InvariantViolated("a branch without code was asked to go on")
            coroutine = thaw(self.frozen)
            if coroutine.send(None) is not self.leaf.value:
                raise InvariantViolated("a loaded branch is suspended at another leaf than saved")
            self.coroutine, self.frozen = coroutine, None
            if self.subflows_saved:
                inside = subflows_of(coroutine)
                self.subflows = list(zip(self.subflows_saved, inside, strict=True))
                self.subflows_saved = ()
        return self.coroutine

    def __getstate__(self) -> tuple[Any, ...]:
        frozen = freeze(self.coroutine) if self.coroutine is not None else self.frozen
        state = (self.value, frozen, self.leaf, self.outcome, self.cancelling)
        inside = tuple(id for id, _ in self.subflows) or self.subflows_saved
        if not (inside or self.subflow or self.container is not None):
            return state
        return (*state, self.subflow, inside, self.container)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.value, self.frozen, self.leaf, self.outcome, self.cancelling = state[:5]
        self.subflow, self.subflows_saved, self.container = state[5:] or (None, (), None)
        self.coroutine = None
        self.subflows = []


def path_to(root: Branch, leaf_id: str) -> list[Branch] | None:
    """The branches from `root` to the one suspended at the leaf, or None when it is not there."""
    if root.leaf is None:
        return None
    if root.leaf.id == leaf_id:
        return [root]
    if isinstance(root.leaf, GroupLeaf):
        for branch in root.leaf.branches:
            below = path_to(branch, leaf_id)
            if below is not None:
                return [root, *below]
    return None


def leaves_of(root: Branch) -> list[Leaf]:
    """All open leaves of the tree, groups before their members, in order of registration."""
    if root.leaf is None:
        return []
    if not isinstance(root.leaf, GroupLeaf):
        return [root.leaf]
    found: list[Leaf] = [root.leaf]
    for branch in root.leaf.branches:
        found.extend(leaves_of(branch))
    return found
