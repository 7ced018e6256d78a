"""What an ingress makes of a call: whose it is, and who may see it."""

from __future__ import annotations

import msgspec

from raysume import registry
from raysume.records import CallRecord, OutgoingCall


def as_pushed(call: OutgoingCall) -> OutgoingCall:
    """The call as an operator pushes it: of the service that owns the method."""
    owner = registry.owner(call.method)
    return call if owner is None else msgspec.structs.replace(call, service=owner.service)


def accepted(call: OutgoingCall, *, at_us: int) -> CallRecord:
    """The call as it is recorded at `at_us`."""
    owner = registry.owner(call.method)
    return CallRecord(
        id=call.id,
        method=call.method,
        service=call.service,
        at_us=at_us,
        input=call.input,
        output=call.output,
        error=call.error,
        headers=call.headers,
        local_only=owner is not None and owner.local_only,
    )
