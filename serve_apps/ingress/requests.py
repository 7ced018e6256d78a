"""What routes read from a request: the ingress, the principal, headers and parameters."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime

from starlette.requests import Request

from raysume.actors.spans import Running, within
from raysume.explanations import keeping_calls
from raysume.limits import PUBLISHER_ID_CHARS_MAX
from raysume.serve_apps.ingress.gate import PRINCIPAL
from raysume.serve_apps.ingress.ingress import Ingress
from raysume.serve_apps.ingress.problems import Problem, unusable
from raysume.serve_apps.ingress.tokens import Principal
from raysume.storage.call_ports import FoundCall, Publisher
from raysume.storage.moments import from_us
from raysume.storage.segments import made_at_us
from raysume.tracing import checked

_SEQUENCE_MAX = (1 << 62) - 1


def ingress_of(request: Request) -> Ingress:
    """The ingress behind the app."""
    ingress: Ingress = request.app.state.ingress
    return ingress


async def call_of(request: Request, id: str) -> FoundCall:
    """The call with this id.

    Raises:
        Problem: 404, there is none, or none any more; says which, as far as the id tells.
    """
    ingress = ingress_of(request)
    found = await ingress.read(lambda log: log.find_call(id))
    if found is not None:
        return found
    keeping = keeping_calls(ingress.call_retention)
    made_us = made_at_us(id)
    if made_us is not None and from_us(made_us) < datetime.now(UTC) - ingress.call_retention:
        made = from_us(made_us).isoformat(timespec="seconds")
        detail = f"Call {id!r}, of {made}, is not there any more: it was deleted, {keeping}."
    else:
        detail = (
            f"There is no call {id[:200]!r}: it was never accepted, or it was deleted, {keeping}. A "
            "call that was refused has no id here; its answer said why."
        )
    raise Problem(404, "not-found", detail)


def principal_of(request: Request) -> Principal:
    """Who asks; the gate has seen to it that somebody does."""
    principal: Principal = request.scope[PRINCIPAL]
    return principal


def media_type_of(request: Request) -> str:
    """The body's type without parameters, in lower case; JSON when none is given."""
    return request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()


def expect_json(request: Request) -> None:
    """The body is declared as JSON, or not declared.

    Raises:
        Problem: 415, it is something else.
    """
    declared = media_type_of(request)
    if declared != "application/json":
        raise unsupported(declared, "application/json")


def unsupported(declared: str, *supported: str) -> Problem:
    """415: the body's type is none of those that are supported here."""
    return Problem(
        415,
        "unsupported-media-type",
        f"The body's type {declared[:100]!r} is not supported here. Send {' or '.join(supported)}.",
    )


def publisher_of(request: Request) -> Publisher | None:
    """The publisher named by the headers, if any.

    Raises:
        Problem: 422, only one of the two headers is there, or one cannot be used.
    """
    id = request.headers.get("raysume-publisher")
    sequence = request.headers.get("raysume-sequence")
    in_order = request.headers.get("raysume-in-order", "false").lower()
    if in_order not in ("true", "false"):
        raise unusable("Raysume-In-Order", "must be true or false")
    if id is None and sequence is None and in_order == "false":
        return None
    if id is None or sequence is None:
        missing = "Raysume-Publisher" if id is None else "Raysume-Sequence"
        raise unusable(missing, "is missing; the two headers go together")
    if not 0 < len(id) <= PUBLISHER_ID_CHARS_MAX or not id.isprintable():
        raise unusable(
            "Raysume-Publisher", f"must have 1 to {PUBLISHER_ID_CHARS_MAX} printable characters"
        )
    digits = sequence.isascii() and sequence.isdigit() and len(sequence) < 20
    if not digits or int(sequence) > _SEQUENCE_MAX:
        raise unusable("Raysume-Sequence", "must be a number from 0: that of the first call")
    return Publisher(id=id, first=int(sequence), in_order=in_order == "true")


def trace_of(request: Request) -> str | None:
    """The W3C trace context of the request; None: it has none, several, or a malformed one."""
    found = [value for name, value in request.scope["headers"] if name == b"traceparent"]
    return checked(found[0].decode("latin-1")) if len(found) == 1 else None


def accepting(request: Request) -> AbstractContextManager[Running]:
    """A span around the acceptance of what the request brings, if its trace is sampled."""
    spans = ingress_of(request).spans
    return within(spans, "raysume.accept", trace_of(request), {"url.path": request.url.path})


def only_parameters(request: Request, *known: str) -> None:
    """The query has no parameter but these: an ignored filter would return the wrong rows.

    Raises:
        Problem: 422, naming those that there are.
    """
    for name in request.query_params:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise unusable(name[:100], f"is not a parameter here; there are: {listed}")
