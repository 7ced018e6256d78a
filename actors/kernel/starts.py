"""Explicit starts: by a client, or by a workflow that awaits another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysume.actors.kernel.deliveries import StartAnswer
from raysume.actors.kernel.parting import check_owned
from raysume.actors.kernel.records import Begin
from raysume.errors import ShardMoved

if TYPE_CHECKING:
    from raysume.actors.kernel.commits import Started
    from raysume.actors.kernel.kernel import Kernel


def start(kernel: Kernel, event: Started) -> None:
    """The instance exists, new or as it was; the answer says which."""
    request = event.request
    try:
        check_owned(kernel, request.id)
    except ShardMoved as moved:
        kernel.commit.answers.append((event.token, moved))
        return
    instance = kernel.instances.get(request.id)
    status = kernel.ended.get(request.id)
    created = instance is None and status is None
    if instance is None and status is None:
        instance = kernel.new_instance(request.id, request.at_us, kernel.newest)
        instance.origin = request.origin
        kernel.stimulate(instance, Begin(input=request.input))
    if instance is not None:
        status = instance.status
    assert status is not None
    answer = StartAnswer(
        id=request.id,
        workflow=kernel.workflow.name,
        version=kernel.version,
        status=status.value,
        created=created,
    )
    kernel.commit.answers.append((event.token, answer))
