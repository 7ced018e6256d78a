"""From loaded workflows and methods to what the directory deploys."""

from __future__ import annotations

from typing import Any

import msgspec

from raysume.actors.directory import DeployedMethods, DeployedWorkflow
from raysume.actors.loading import Target
from raysume.actors.specs import PoolSpec
from raysume.deployments import Deployment
from raysume.errors import UsageError
from raysume.methods import Method
from raysume.workflows import Workflow


def described(deployment: Deployment, target: Target) -> tuple[list[bytes], bytes]:
    """The arguments of `Directory.deploy` for a loaded module.

    Raises:
        UsageError: the module defines no workflow.
    """
    if not deployment.workflows:
        raise UsageError(
            f"module {target.module!r} defines no workflow. Decorate an `async def` with @workflow."
        )
    urns = frozenset(deployment.methods)
    workflows = [_workflow(workflow, target, urns) for workflow in deployment.workflows.values()]
    methods = DeployedMethods(
        entries={urn: _method(method) for urn, method in deployment.methods.items()}
    )
    return (
        [msgspec.msgpack.encode(one) for one in workflows],
        msgspec.msgpack.encode(methods),
    )


def _workflow(
    workflow: Workflow[Any, Any], target: Target, urns: frozenset[str]
) -> DeployedWorkflow:
    spec = PoolSpec(
        workflow=workflow.name, version=workflow.version_id(), target=target, methods=urns
    )
    schema = None
    if workflow.has_parameters:
        schema = workflow.input_model.model_json_schema(by_alias=True, mode="validation")
    entry: dict[str, Any] = {
        "name": workflow.name,
        "version": spec.version,
        "pool": spec.name,
        "active": workflow.active,
        "has_parameters": workflow.has_parameters,
        "input_schema": schema,
        "subscribes": sorted(urns),
    }
    return DeployedWorkflow(
        pool=spec, active=True, takes_new=workflow.active, entry=msgspec.json.encode(entry)
    )


def _method(method: Method) -> bytes:
    return msgspec.json.encode(
        {
            "urn": method.urn,
            "service": method.service,
            "external": method.external,
            "local_only": method.local_only,
            "input_schema": method.input_schema(),
            "output_schema": method.output_schema(),
        }
    )
