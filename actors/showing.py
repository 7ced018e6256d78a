"""Instances as people read them: frames, variables, errors and turns as plain JSON values."""

from __future__ import annotations

from typing import Any

from raysume.actors.history import Past
from raysume.actors.kernel.branches import Branch, GroupLeaf, Leaf, StepLeaf, WaitLeaf
from raysume.actors.kernel.moments import moment
from raysume.actors.kernel.questions import container_in
from raysume.actors.kernel.records import InstanceRecord
from raysume.actors.kernel.trees import tree_of
from raysume.compiler import frames_of
from raysume.containers import shown


def state_shown(record: InstanceRecord) -> dict[str, Any]:
    """{"frames": the frames of the instance, "container": the fields of its class or None}."""
    if record.state is None:
        return {"frames": [], "container": None}
    root = tree_of(record.state)
    container = root.container or container_in(record.kept)
    return {
        "frames": _frames(root, {wait.id: wait.method for wait in record.waits}),
        "container": None if container is None else shown(container),
    }


def turn_shown(past: Past) -> dict[str, Any]:
    """A turn of an instance's history, with the state after it."""
    record, cause = past.record, past.turn.cause
    return {
        "turn": record.turn,
        "at": moment(record.updated_us).isoformat(),
        "status": record.status,
        "cause": None if cause is None else cause.kind,
        "name": None if cause is None else cause.name,
        "id": None if cause is None else cause.id,
        "opened": [
            {"id": one.id, "kind": one.kind, "name": one.name, "method": one.method}
            for one in past.turn.opened
        ],
        "ended": [{"id": one.id, "status": one.status} for one in past.turn.ended],
        "error": error_shown(record),
        **state_shown(record),
    }


def error_shown(record: InstanceRecord) -> dict[str, Any] | None:
    """The error that the instance failed with, or None."""
    error = record.error
    if error is None:
        return None
    return {"type": error.type, "message": error.message, "traceback": error.traceback}


def _frames(branch: Branch, methods: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    code = branch.coroutine or branch.frozen
    if code is not None:
        views = frames_of(code)
        for index, frame in enumerate(views):
            innermost = index == len(views) - 1
            found.append(
                {
                    "definition": frame.definition,
                    "file": frame.file,
                    "line": frame.line,
                    "wait": _awaited(branch.leaf, methods) if innermost else None,
                    "locals": {name: _shown(value) for name, value in frame.locals.items()},
                }
            )
    if isinstance(branch.leaf, GroupLeaf):
        for member in branch.leaf.branches:
            found.extend(_frames(member, methods))
    return found


def _awaited(leaf: Leaf | None, methods: dict[str, str]) -> str | None:
    if leaf is None:
        return None
    if isinstance(leaf, WaitLeaf):
        return f"wait for {methods.get(leaf.id, leaf.value.method.urn)}"
    if isinstance(leaf, StepLeaf):
        return f"step {leaf.value.label}"
    return repr(leaf.value)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__qualname__}, whose repr raised {type(error).__name__}>"
    return text if len(text) <= 1_000 else text[:1_000] + "..."
