"""When a group is decided, and with what: by its kind, its filter, and how its members ended."""

from __future__ import annotations

from typing import Any

from raysume.actors.kernel.branches import Branch, GroupLeaf, Outcome
from raysume.groups import First, GroupResult, name_of


def decide(leaf: GroupLeaf) -> Outcome | None:
    """What the group ends with, after the members that have ended by now; None: it goes on.

    The filter of an `until` group sees each ended member once.
    """
    group, branches = leaf.value, leaf.branches
    for index in leaf.finished[leaf.seen :]:
        leaf.seen += 1
        outcome = branches[index].outcome
        if outcome is not None and outcome.kind != "result":
            return outcome
        if group.kind == "any" and outcome is not None:
            return Outcome(
                "result",
                First(index=index, name=name_of(group.members[index]), result=outcome.value),
            )
        if group.kind == "until":
            result = _result_of(leaf, upto=leaf.seen)
            try:
                is_met = group.filter is None or group.filter(result)
            except Exception as error:
                return Outcome("error", error)
            if is_met:
                return Outcome("result", result)
    if leaf.seen < len(branches):
        return None
    if group.kind == "all":
        return Outcome("result", tuple(_value_of(branch) for branch in branches))
    return Outcome("result", _result_of(leaf, upto=leaf.seen))


def _value_of(branch: Branch) -> Any:
    return None if branch.outcome is None else branch.outcome.value


def _result_of(leaf: GroupLeaf, *, upto: int) -> GroupResult:
    names = leaf.value.names()
    ended = leaf.finished[:upto]
    return GroupResult(
        completed=upto,
        results={names[index]: _value_of(leaf.branches[index]) for index in ended},
        pending=tuple(name for index, name in enumerate(names) if index not in ended),
    )
