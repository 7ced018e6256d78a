"""The standing first wait of a workflow without parameters, learnt once at deployment."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from raysume.actors.kernel import program
from raysume.actors.kernel.branches import Branch, SleepLeaf, StepLeaf, WaitLeaf, leaves_of
from raysume.actors.kernel.index import WaitIndex
from raysume.actors.kernel.moments import moment
from raysume.actors.kernel.records import WaitRecord
from raysume.actors.kernel.turns import InstanceTurn
from raysume.errors import InvariantViolated, UsageError
from raysume.instances import RunningInstance
from raysume.waits import Sleep, Wait
from raysume.workflows import Workflow

STANDING_ID = "@standing"
"""The holder id of standing waits; no instance has it."""


class Standing:
    """What a new instance of the workflow would wait for first."""

    def __init__(self, workflow: Workflow[Any, Any]) -> None:
        self._workflow = workflow
        self.id = STANDING_ID
        self.sleep: Sleep | None = None
        """The sleep that the workflow begins with: a start is due when it ends."""
        self.waits: list[WaitRecord] = []
        """The waits of the first wait's tree, in order of registration."""
        self.values: list[Wait[Any]] = []
        """The same waits as the workflow made them."""

    def ordinal_of(self, wait_id: str) -> int:
        """Which of the waits has this id."""
        for ordinal, wait in enumerate(self.waits):
            if wait.id == wait_id:
                return ordinal
        raise InvariantViolated(f"{wait_id} is not a standing wait of {self._workflow.name}")

    def learning(self, turn: InstanceTurn) -> Generator[Any, Any, None]:
        """The workflow has run up to its first durable await; `waits`, or `sleep`, is known.

        One that starts by a timetable has none.

        Raises:
            UsageError: it has no first wait, or begins with a step.
        """
        if self._workflow.timetable is not None:
            return
        beginning, _ = self._workflow.begin({})
        branch = Branch(beginning)
        turn.is_first = True
        yield from program.start(turn, branch)
        name = self._workflow.name
        if branch.outcome is not None:
            if isinstance(branch.outcome.value, Exception):
                raise UsageError.by_rule(
                    "error-before-first-wait",
                    f"workflow {name!r} raised before its first wait, so it was not deployed: "
                    f"{type(branch.outcome.value).__name__}: {branch.outcome.value}.",
                ) from branch.outcome.value
            raise UsageError.by_rule(
                "no-first-wait",
                f"workflow {name!r} has no parameters and ends without waiting, so nothing could "
                "ever start it. Begin with a wait, or give it parameters and use client.start.",
            )
        leaves = leaves_of(branch)
        if any(isinstance(leaf, StepLeaf) for leaf in leaves):
            raise UsageError.by_rule(
                "step-first",
                f"workflow {name!r} begins with a step, which would run at every deployment. "
                "Begin with a wait, or give it parameters and use client.start.",
            )
        if isinstance(branch.leaf, SleepLeaf):
            self.sleep = branch.leaf.value
            return
        if any(isinstance(leaf, SleepLeaf) for leaf in leaves):
            raise UsageError(
                f"workflow {name!r} begins with a sleep among other things. Begin with a sleep "
                "alone to start again and again, with a wait, or give it parameters and use "
                "client.start."
            )
        self.values = [leaf.value for leaf in leaves if isinstance(leaf, WaitLeaf)]
        bound = {opened.leaf.id: opened for opened in turn.waits}
        self.waits = [
            turn.wait_record(bound[leaf.id], name=f"standing.{number}")
            for number, leaf in enumerate(leaf for leaf in leaves if isinstance(leaf, WaitLeaf))
        ]

    def awaits(self, method: str) -> bool:
        """Whether calls of the method may start instances."""
        return any(wait.method == method for wait in self.waits)

    def stand(self, index: WaitIndex) -> None:
        """Calls find the standing waits from now on."""
        for wait in self.waits:
            index.add(self, wait)


def learning_turn(workflow: Workflow[Any, Any], version: str, now_us: int) -> InstanceTurn:
    """The turn in which the first wait is learnt; it belongs to no instance."""
    now = moment(now_us)
    handle = RunningInstance(
        id=STANDING_ID, workflow=workflow.name, version=version, started_at=now, now=now
    )
    return InstanceTurn(instance=handle, number=0, now_us=now_us)
