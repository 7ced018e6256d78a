"""Queries: what an instance answers from its saved state, whatever its status."""

from __future__ import annotations

from collections.abc import Mapping

from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.records import InstanceRecord
from raysume.actors.kernel.trees import tree_of
from raysume.containers import Container, queries_of
from raysume.errors import NotFound, UsageError
from raysume.workflows import Workflow


def state_of(held: Instance | InstanceRecord) -> bytes | None:
    """The saved state of the workflow; while its steps are undone, that from before."""
    return held.state if held.kept is None else held.kept


def container_in(state: bytes | None) -> Container | None:
    """The object of the workflow's class in saved state: a copy, loaded anew."""
    if state is None:
        return None
    return tree_of(state).container


def answer(
    workflow: Workflow[..., object],
    state: bytes | None,
    name: str,
    arguments: bytes | Mapping[str, str],
) -> bytes:
    """The answer of a query as JSON; the saved state stays as it is.

    Args:
        workflow: whose instance is asked.
        state: the instance's saved state.
        name: the query's name.
        arguments: JSON by parameter name, or texts as they stand in an address.

    Raises:
        NotFound: there is no such query.
        UsageError: the arguments are not the query's, or it raised, or nothing is saved yet.
    """
    queries = {} if workflow.owner is None else queries_of(workflow.owner)
    query = queries.get(name)
    if query is None:
        known = ", ".join(sorted(queries)) or "none"
        raise NotFound(
            f"workflow {workflow.name!r} has no query {name[:200]!r}; its queries are: {known}. "
            "Queries are methods of a Container decorated with @query."
        )
    container = container_in(state)
    if container is None:
        raise NothingSaved(
            f"the instance of workflow {workflow.name!r} has no saved state to answer from: it "
            "has not come to its first wait. Ask again later."
        )
    return query.answer(container, arguments)


class NothingSaved(UsageError):
    """An instance has not come to its first saved point."""

    code = "nothing-saved"
