"""From loaded workflows and methods to what the directory deploys."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from raysume.actors.deployed_workflows import Awaits, DeployedWorkflow
from raysume.actors.known_methods import DeclaredMethod, DeployedMethods
from raysume.actors.loading import Target, load
from raysume.actors.specs import PoolSpec
from raysume.actors.untyped import RayTaskError, cause_of, ray
from raysume.compiler.awaiting import awaited_by
from raysume.deployments import Deployment
from raysume.errors import UsageError
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
        module=target.module, declared=[DeclaredMethod.of(one) for one in deployment.declared]
    )
    return (
        [msgspec.msgpack.encode(one) for one in workflows],
        msgspec.msgpack.encode(methods),
    )


def described_apart(target: Target, driver_paths: list[str]) -> tuple[list[bytes], bytes]:
    """The same for a module that this process does not load: a process of its own does.

    Two programs on one engine know nothing of each other's code; a process that had loaded both
    would take the methods of both for those of either.

    Args:
        driver_paths: folders that Ray adds to the module path because of this program.

    Raises:
        UsageError: it cannot be deployed.
    """
    task: Any = ray.remote(num_cpus=0.01, max_calls=1)(_load_and_describe)
    try:
        found: tuple[list[bytes], bytes] = ray.get(task.remote(target, driver_paths))
    except RayTaskError as error:
        raise cause_of(error) or error from None
    return found


def _load_and_describe(target: Target, driver_paths: list[str]) -> tuple[list[bytes], bytes]:
    sys.path[:] = [path for path in sys.path if path not in driver_paths]
    return described(load(target), target)


def _workflow(
    workflow: Workflow[Any, Any], target: Target, urns: frozenset[str]
) -> DeployedWorkflow:
    awaited = awaited_by(workflow.definition)
    subscribed = urns if awaited.named is None else urns & awaited.named
    spec = PoolSpec(
        workflow=workflow.name, version=workflow.version_id(), target=target, methods=subscribed
    )
    schema = None
    if workflow.has_parameters:
        schema = workflow.input_model.model_json_schema(by_alias=True, mode="validation")
    entry: dict[str, Any] = {
        "name": workflow.name,
        "version": spec.version,
        "service": workflow.service,
        "place": workflow.place,
        "pool": spec.name,
        "active": workflow.active,
        "has_parameters": workflow.has_parameters,
        "input_schema": schema,
        "subscribes": sorted(subscribed),
    }
    return DeployedWorkflow(
        pool=spec,
        active=True,
        takes_new=workflow.active,
        entry=msgspec.json.encode(entry),
        awaits=Awaits(named=awaited.named, once=awaited.once, is_exclusive=awaited.is_exclusive),
    )
