"""Explicit starts of instances, as a pool takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from raysume.actors.kernel.commits import Started
from raysume.actors.kernel.deliveries import StartAnswer, StartRequest
from raysume.actors.kernel.parting import check_owned, own_id
from raysume.errors import UsageError

if TYPE_CHECKING:
    from raysume.actors.hosting import PoolHost


async def start_instance(host: PoolHost, request: StartRequest) -> StartAnswer:
    """The instance exists durably, new or as it was.

    Raises:
        UsageError: the workflow takes no new instances, or the arguments are not its own.
        ShardMoved: its id belongs to another member of the pool; `details` has it.
        Unavailable: another version has followed this one, and takes the start.
    """
    workflow = host.workflow
    if not workflow.active:
        raise UsageError(f"workflow {workflow.name!r} takes no new instances (inactive).")
    arguments = workflow.decode_arguments(request.input)
    if not request.id:
        made = workflow.instance_id(arguments) or own_id(host.kernel)
        request = msgspec.structs.replace(request, id=made)
    check_owned(host.kernel, request.id)
    if request.id not in host.kernel.instances:
        known = await host.in_store(
            lambda store: store.find_instance(request.id, workflow=workflow.name)
        )
        if known:
            return StartAnswer.found(known[0])
    answer: StartAnswer = await host.answers.ask(
        lambda token: Started(request=request, token=token)
    )
    return answer
