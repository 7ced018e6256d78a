"""Child workflows: one workflow awaited by another, as an instance of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from raysume.durable import Durable
from raysume.errors import InvariantViolated

if TYPE_CHECKING:
    from raysume.compiler import Definition
    from raysume.workflows import Workflow


class ChildCall(Durable):
    """A call of a workflow inside another one: awaited, it starts an instance and gives its result.

    The instance is one like any other: it has an id, a status and a history of its own, and
    goes on while the one that awaits it is away.
    """

    __slots__ = ("definition", "input")
    durable_kind: ClassVar[str] = "workflow"

    definition: Definition
    input: bytes
    """JSON of the arguments, by name."""

    def __init__(self, definition: Definition, input: bytes) -> None:
        self.definition, self.input = definition, input

    @property
    def workflow(self) -> Workflow[..., Any]:
        """What is started."""
        found: Workflow[..., Any] | None = self.definition.workflow
        if found is None:
            raise InvariantViolated(f"{self.definition.name!r} is awaited, but is no workflow")
        return found

    def own_id(self) -> str | None:
        """The id that the workflow's rule makes of the arguments; None when it has no rule."""
        workflow = self.workflow
        if workflow.id_function is None:
            return None
        return workflow.instance_id(workflow.decode_arguments(self.input))

    def read(self, result: bytes) -> Any:
        """The returned value from its JSON."""
        return self.workflow.output_adapter.validate_json(result)

    def __reduce__(self) -> tuple[Any, ...]:
        return (ChildCall, (self.definition, self.input))

    def __repr__(self) -> str:
        return f"<workflow {self.workflow.name!r}>"
