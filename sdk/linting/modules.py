"""Everything that is found in a module's workflows."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from raysume.compiler.forewarning import refusals_of
from raysume.deployments import deployment, seen_by
from raysume.errors import UsageError
from raysume.linting import keys, rules
from raysume.linting.findings import Finding
from raysume.linting.importing import refusal
from raysume.linting.scopes import scopes_of
from raysume.linting.written_waits import written_waits
from raysume.methods import Method
from raysume.workflows import Workflow


def findings_in(module: ModuleType) -> list[Finding]:
    """What is found in the workflows that the module would deploy, allowed or not."""
    workflows, methods = seen_by(module)
    found: list[Finding] = []
    deployable: list[Workflow[..., Any]] = []
    for workflow in workflows:
        refused = list(_refused(workflow))
        if not refused:
            deployable.append(workflow)
        found += refused
        found += _written(workflow)
    found += _refused_together(module, deployable, methods)
    return found


def _refused(workflow: Workflow[..., Any]) -> Iterator[Finding]:
    """Why the workflow would not be deployed."""
    try:
        workflow.check_owner()
    except UsageError as error:
        line = workflow.definition.first_line
        yield refusal(error, workflow.name, place=(workflow.file, line))
    for refused in refusals_of(workflow.definition, deploys=True):
        yield refusal(refused, workflow.name)


def _refused_together(
    module: ModuleType, workflows: list[Workflow[..., Any]], methods: list[Method]
) -> Iterator[Finding]:
    """Why workflows and methods would not be deployed together, though each one alone would."""
    try:
        deployment(workflows, methods)
    except UsageError as error:
        yield refusal(error, None, place=(module.__file__ or module.__name__, 1))


def _written(workflow: Workflow[..., Any]) -> Iterator[Finding]:
    scopes, name = scopes_of(workflow), workflow.name
    for written in written_waits(scopes):
        for rule in (keys.without_key, rules.without_match, rules.from_now_in_loop):
            found = rule(written, name)
            if found is not None:
                yield found
        yield from rules.match_without_effect(written, name)
    yield from rules.sleeps_not_durable(scopes, name)
