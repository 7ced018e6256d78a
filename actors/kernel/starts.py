"""Explicit starts: by a client, or by a workflow that awaits another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysume.actors.kernel.deliveries import StartAnswer
from raysume.actors.kernel.parting import check_owned
from raysume.actors.kernel.records import Begin
from raysume.errors import ShardMoved, Unavailable

if TYPE_CHECKING:
    from raysume.actors.kernel.commits import Started
    from raysume.actors.kernel.kernel import Kernel


def start(kernel: Kernel, event: Started) -> None:
    """The instance exists, new or as it was; the answer says which.

    A version whose time has ended starts none, but children, whose version is fixed: what it
    has started by then is known to its successor, and no id is used twice.
    """
    request = event.request
    try:
        check_owned(kernel, request.id)
    except ShardMoved as moved:
        kernel.commit.answers.append((event.token, moved))
        return
    instance = kernel.instances.get(request.id)
    status = kernel.ended.get(request.id)
    created = instance is None and status is None
    if created and kernel.tenure.ends is not None and request.origin is None:
        successor = Unavailable(
            f"another version of {kernel.workflow.name!r} has followed {kernel.version}; it takes "
            "the start.",
            retry_after=1.0,
        )
        kernel.commit.answers.append((event.token, successor))
        return
    if instance is None and status is None:
        instance = kernel.new_instance(request.id, request.at_us, kernel.newest)
        instance.origin, instance.trace = request.origin, request.trace
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
