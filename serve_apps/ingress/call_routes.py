"""Routes that accept, list and find calls."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from starlette.requests import Request
from starlette.responses import Response

from raysume.limits import BATCH_CALLS_MAX, PAGE_ROWS_MAX
from raysume.serve_apps.ingress import schemas
from raysume.serve_apps.ingress.bodies import BodyLease
from raysume.serve_apps.ingress.cursors import decode_cursor, encode_cursor
from raysume.serve_apps.ingress.envelopes import Items, decode_array, decode_lines, decode_one
from raysume.serve_apps.ingress.problems import ItemError, Problem, json_response, unusable
from raysume.serve_apps.ingress.reception import Reception
from raysume.serve_apps.ingress.requests import (
    accepting,
    call_of,
    expect_json,
    ingress_of,
    media_type_of,
    only_parameters,
    principal_of,
    publisher_of,
    unsupported,
)
from raysume.storage.call_ports import Accepted, Batch, CallQuery, FoundCall, NewCall

router = APIRouter(prefix="/v1", tags=["calls"])

_NDJSON = "application/x-ndjson"
_SLICE = 500
"""Calls checked between two looks at other requests."""


@router.post(
    "/calls",
    status_code=202,
    summary="Accept one call",
    response_model=None,
    openapi_extra={**schemas.body(schemas.CallBody), "parameters": [schemas.TRACEPARENT]},
    responses=schemas.answers(
        (202, schemas.CallAccepted, "On disk"),
        (200, schemas.CallAccepted, "Was on disk before"),
        refusals=(400, 403, 409, 412, 413, 415, 422, 429, 503),
    ),
)
async def accept_call(request: Request) -> Response:
    """The answer is sent after the call is on disk."""
    only_parameters(request)
    expect_json(request)
    ingress, publisher = ingress_of(request), publisher_of(request)
    with accepting(request) as span, ingress.bodies.lease() as lease:
        reception = Reception(ingress.methods, principal_of(request))
        reception.take(decode_one(await lease.read(request)))
        [call] = reception.finish(span.trace)
        batch = Batch(calls=[call], publisher=publisher)
        accepted = await ingress.accept(batch, reception.methods)
    _refuse(batch, accepted)
    if accepted.outcomes[0] == "duplicate":
        id = call.id if call.client_id else None
        return json_response({"id": id, "duplicate": True})
    return json_response({"id": call.id}, status=202)


@router.post(
    "/calls:batch",
    status_code=202,
    summary="Accept many calls, all or none",
    response_model=None,
    openapi_extra={
        "parameters": [
            {
                "name": "ids",
                "in": "query",
                "description": "`true`: answer with the calls' ids.",
                "schema": {"type": "boolean", "default": False},
            },
            schemas.TRACEPARENT,
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "array", "items": schemas.CallBody.model_json_schema()}
                },
                _NDJSON: {"schema": schemas.CallBody.model_json_schema()},
            },
        },
    },
    responses=schemas.answers(
        (202, schemas.BatchAccepted, "On disk"),
        (200, schemas.BatchAccepted, "All were on disk before"),
        refusals=(400, 403, 409, 412, 413, 415, 422, 429, 503),
    ),
)
async def accept_batch(request: Request) -> Response:
    """A JSON array, or one call a line. The calls are seen in the order given.

    With the headers `Raysume-Publisher` and `Raysume-Sequence` (the number of the first
    call; the others follow without gaps) the request may be repeated without harm. With
    `Raysume-In-Order: true` beside them it is refused with 412 while calls of the publisher before
    it are missing, so that several requests may be under way at a time.
    """
    only_parameters(request, "ids")
    ids = request.query_params.get("ids", "false").lower()
    if ids not in ("true", "false", "1", "0"):
        raise unusable("ids", "must be true or false")
    ingress, publisher = ingress_of(request), publisher_of(request)
    with accepting(request) as span, ingress.bodies.lease() as lease:
        reception = Reception(ingress.methods, principal_of(request))
        declared = media_type_of(request)
        match declared:
            case "application/json":
                await _take(reception, decode_array(await lease.read(request)))
            case "application/x-ndjson" | "application/jsonl":
                await _take_lines(reception, lease, request)
            case _:
                raise unsupported(declared, "application/json", _NDJSON)
        calls = reception.finish(span.trace)
        batch, accepted = Batch(calls=calls, publisher=publisher), Accepted(outcomes=())
        if calls:
            accepted = await ingress.accept(batch, reception.methods)
    _refuse(batch, accepted)
    return _batch_answer(calls, accepted, ids=ids in ("true", "1"))


async def _take(reception: Reception, items: Items) -> None:
    """The items are checked, with looks at other requests in between."""
    count = len(items.envelopes)
    _check_count(items.first + count)
    if count <= _SLICE:
        reception.take(items)
        return
    for at in range(0, count, _SLICE):
        reception.take(
            Items(
                first=items.first + at,
                envelopes=items.envelopes[at : at + _SLICE],
                values=items.values[at : at + _SLICE],
            )
        )
        await asyncio.sleep(0)


async def _take_lines(reception: Reception, lease: BodyLease, request: Request) -> None:
    """Lines are checked as they come, so that a bad one ends the request early."""
    taken, rest = 0, bytearray()
    async for chunk in lease.chunks(request):
        cut = chunk.rfind(b"\n") + 1
        rest += chunk[:cut] if cut else chunk
        if not cut:
            continue
        items = decode_lines(bytes(rest), first=taken)
        taken += len(items.envelopes)
        await _take(reception, items)
        rest = bytearray(chunk[cut:])
    if rest.strip():
        await _take(reception, decode_lines(bytes(rest), first=taken))


def _check_count(count: int) -> None:
    if count > BATCH_CALLS_MAX:
        raise Problem(
            413,
            "too-large",
            f"One request may have {BATCH_CALLS_MAX:,} calls. Send several smaller ones.",
        )


def _refuse(batch: Batch, accepted: Accepted) -> None:
    """Raises the problem when nothing was stored: a call is in conflict, or the batch came early."""
    calls, publisher = batch.calls, batch.publisher
    if publisher is not None and accepted.is_early:
        raise Problem(
            412,
            "out-of-order",
            f"Calls of publisher {publisher.id!r} before number {publisher.first} are missing. "
            "Nothing was stored. Send them first, then this request again.",
        )
    at = [index for index, outcome in enumerate(accepted.outcomes) if outcome == "conflict"]
    if at:
        message = "this id was used before for a call with another body"
        raise Problem(
            409,
            "duplicate-call",
            f"Call {at[0]}, id {calls[at[0]].id!r}: {message}. Nothing was stored. Use a new id "
            "for a new call.",
            errors=[ItemError(item=index, field="id", message=message) for index in at],
        )


def _batch_answer(calls: list[NewCall], accepted: Accepted, *, ids: bool) -> Response:
    duplicates = sum(outcome == "duplicate" for outcome in accepted.outcomes)
    answer: dict[str, Any] = {"accepted": len(calls) - duplicates, "duplicates": duplicates}
    if ids:
        # The id of a duplicate is known only when the client gave it.
        answer["ids"] = [
            call.id if call.client_id or outcome == "accepted" else None
            for call, outcome in zip(calls, accepted.outcomes, strict=True)
        ]
    if calls and duplicates == len(calls):
        return json_response({**answer, "duplicate": True})
    return json_response(answer, status=202)


DIRECT = {("POST", "/v1/calls"): accept_call, ("POST", "/v1/calls:batch"): accept_batch}
"""The handlers on the hot path, for `Gate`."""


@router.get(
    "/calls",
    summary="List calls, oldest first",
    response_model=None,
    responses=schemas.answers((200, schemas.CallPage, "A page"), refusals=(422, 503)),
)
async def list_calls(
    request: Request,
    method: Annotated[str | None, Query(description="The method's URN.")] = None,
    service: str | None = None,
    since: Annotated[AwareDatetime | None, Query(description="Accepted at or after.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Accepted before.")] = None,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)] = 100,
) -> Response:
    """Calls in the order in which they were accepted."""
    only_parameters(request, "method", "service", "since", "until", "after", "limit")
    query = CallQuery(
        service=service,
        method=method,
        since=since,
        until=until,
        after=decode_cursor(after, tuple[int, int]),
        limit=limit + 1,
    )
    found = await ingress_of(request).read(lambda log: log.list_calls(query))
    page, more = found[:limit], len(found) > limit
    return json_response(
        {
            "items": [_view(one) for one in page],
            "next": encode_cursor((page[-1].pos, page[-1].offset)) if more else None,
        }
    )


@router.get(
    "/calls/{id:path}",
    summary="One call",
    response_model=None,
    responses=schemas.answers((200, schemas.Call, "The call"), refusals=(404, 503)),
)
async def find_call(request: Request, id: str) -> Response:
    """The call with this id."""
    only_parameters(request)
    return json_response(_view(await call_of(request, id)))


def _view(found: FoundCall) -> dict[str, Any]:
    call = found.call
    return {
        "id": call.id,
        "method": call.method,
        "service": call.service,
        "at": datetime.fromtimestamp(call.at_us / 1_000_000, UTC).isoformat(),
        "input": msgspec.Raw(call.input),
        "output": None if call.output is None else msgspec.Raw(call.output),
        "error": call.error,
        "headers": call.headers or {},
    }
