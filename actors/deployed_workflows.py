"""The workflows that are deployed, and whose names they are: pure, without Ray."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from raysume.actors.specs import PoolSpec
from raysume.errors import UsageError


class DeployedWorkflow(msgspec.Struct, frozen=True, kw_only=True):
    """One deployed version of a workflow, as the store keeps it."""

    pool: PoolSpec
    active: bool
    takes_new: bool
    """False for `@workflow(active=False)`."""
    entry: bytes
    """JSON of the ingress's WorkflowEntry."""
    awaits: Awaits | None = None
    """None: a release that did not know wrote this; it may wait for anything in any way."""

    @property
    def facts(self) -> WorkflowFacts:
        """What messages need of it."""
        return msgspec.json.decode(self.entry, type=WorkflowFacts)


class Awaits(msgspec.Struct, frozen=True, kw_only=True):
    """Which methods the workflow may wait for (see `raysume.compiler.awaiting.Awaited`)."""

    named: frozenset[str] | None
    once: frozenset[str]
    is_exclusive: bool


class WorkflowFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a WorkflowEntry that tells deployments apart."""

    service: str | None = None
    """None: a release before services had it wrote this."""
    place: str | None = None


def live_modules(
    workflows: Iterable[DeployedWorkflow], *, without: Collection[str] = ()
) -> list[str]:
    """The modules of the deployments that take new instances.

    Args:
        without: workflows that do not count.
    """
    active = [one.pool for one in workflows if one.active and one.pool.workflow not in without]
    return list(dict.fromkeys(pool.target.module for pool in active))


def active_version(deployed: Iterable[DeployedWorkflow], workflow: str) -> DeployedWorkflow | None:
    """The version of the workflow that takes new instances; None: there is none."""
    for one in deployed:
        if one.pool.workflow == workflow and one.active:
            return one
    return None


def refuse_taken_names(
    new: Iterable[DeployedWorkflow],
    deployed: Collection[DeployedWorkflow],
    *,
    live: Collection[str],
) -> None:
    """No new workflow has the name of another deployment's.

    A module that defines all workflows of another one, in the same service, takes its place.

    Args:
        live: the modules of deployments that have workflows beside those that are new.

    Raises:
        UsageError: one has; names both places.
    """
    for one in new:
        for other in deployed:
            if other.active and other.pool.workflow == one.pool.workflow:
                _refuse_other_place(one, other, lives_on=other.pool.target.module in live)


def _refuse_other_place(new: DeployedWorkflow, old: DeployedWorkflow, *, lives_on: bool) -> None:
    """The new workflow is another version of the old one, not a second one of its name.

    Args:
        lives_on: the old one's deployment has workflows that the new deployment lacks.

    Raises:
        UsageError: it is a second one; names both places.
    """
    ours, theirs = new.facts, old.facts
    if new.pool.target.module == old.pool.target.module:
        return
    if not lives_on and theirs.service in (None, ours.service):
        return
    name = new.pool.workflow
    raise UsageError.by_rule(
        "duplicate-workflow",
        f"a workflow named {name!r} is deployed already: service {theirs.service!r} defines it at "
        f"{theirs.place or old.pool.target.module}, and service {ours.service!r} at {ours.place}. "
        "Give one of them another name with @workflow(name=...). If it moved, deploy everything "
        "that was beside it too, under the service name that it had "
        f"(RAYSUME_SERVICE={theirs.service or ours.service}).",
    )
