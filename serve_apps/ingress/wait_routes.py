"""Routes about waits: which there are, and why a call did not meet one."""

from __future__ import annotations

import asyncio
import heapq
from itertools import islice
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from raysume import explanations
from raysume.actors.kernel.deliveries import DeliveredCall
from raysume.limits import EXPLAIN_SHOWN_MAX, PAGE_ROWS_MAX
from raysume.serve_apps.ingress import instances, schemas
from raysume.serve_apps.ingress.cursors import decode_cursor, encode_cursor
from raysume.serve_apps.ingress.ingress import Ingress
from raysume.serve_apps.ingress.problems import Problem, json_response
from raysume.serve_apps.ingress.requests import call_of, ingress_of, only_parameters

router = APIRouter(prefix="/v1", tags=["waits"])

Place = tuple[str, str, str]
"""(instance, wait, workflow@version) of a wait: where a page ends."""


@router.get(
    "/calls/{id:path}/explain",
    summary="Why a call did or did not meet a wait",
    response_model=None,
    responses=schemas.answers(
        (200, schemas.Explanation, "What became of it"), refusals=(404, 409, 422, 503)
    ),
)
async def explain_call(
    request: Request,
    id: str,
    instance: Annotated[str | None, Query(description="Look at this instance only.")] = None,
    workflow: Annotated[str | None, Query(description="Look at this workflow only.")] = None,
) -> Response:
    """The first test that failed for each wait, with both values; the nearest misses first."""
    only_parameters(request, "instance", "workflow")
    ingress = ingress_of(request)
    found = await call_of(request, id)
    item = DeliveredCall(found.offset, found.pos, found.call)
    said = await _said(ingress, item, instance, workflow)
    answer = explanations.explanation(id, found.call.method, said, limit=EXPLAIN_SHOWN_MAX)
    return json_response(msgspec.to_builtins(answer))


async def _said(
    ingress: Ingress, item: DeliveredCall, instance: str | None, workflow: str | None
) -> list[explanations.WaitExplained]:
    urn = item.call.method
    entries = [
        entry for entry in ingress.catalogue.workflows if workflow is None or entry.name == workflow
    ]
    if instance is not None:
        pool, facts = await instances.find(ingress, instance, workflow)
        entries = [entry for entry in entries if entry.pool == pool]
        if urn not in ingress.catalogue.pools.get(pool, frozenset()):
            return [_unsubscribed(facts["workflow"], facts["version"], instance, urn)]
    elif workflow is not None:
        if not entries:
            raise Problem(404, "not-found", f"There is no workflow {workflow[:200]!r}.")
        if all(urn not in entry.subscribes for entry in entries):
            return [_unsubscribed(entry.name, entry.version, None, urn) for entry in entries]
    pools = {entry.pool for entry in entries if urn in ingress.catalogue.pools.get(entry.pool, ())}
    call = msgspec.msgpack.encode(item)
    answers = await asyncio.gather(
        *(ingress.engine.explain(pool, call, instance) for pool in sorted(pools))
    )
    decode = msgspec.msgpack.Decoder(list[explanations.WaitExplained]).decode
    return [one for answer in answers for one in decode(answer)]


def _unsubscribed(
    workflow: str, version: str, instance: str | None, urn: str
) -> explanations.WaitExplained:
    return explanations.WaitExplained(
        workflow=workflow,
        version=version,
        instance=instance,
        stage="subscribed",
        reason=f"no wait of the workflow is for {urn!r}, so its calls never reach it.",
    )


@router.get(
    "/waits",
    summary="List open waits",
    response_model=None,
    responses=schemas.answers((200, schemas.WaitPage, "A page"), refusals=(404, 422, 503)),
)
async def list_waits(
    request: Request,
    workflow: str | None = None,
    method: Annotated[str | None, Query(description="The method's URN.")] = None,
    instance: Annotated[str | None, Query(description="Of this instance only.")] = None,
    keyless: Annotated[
        bool, Query(description="Only those without a key: no index finds them.")
    ] = False,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)] = 100,
) -> Response:
    """What instances wait for now, and the standing first waits."""
    only_parameters(request, "workflow", "method", "instance", "keyless", "after", "limit")
    ingress = ingress_of(request)
    place = decode_cursor(after, tuple[str, str, str])
    query: dict[str, Any] = {
        "method": method,
        "instance": instance,
        "keyless": keyless,
        "after": None if place is None else list(place),
        "limit": limit + 1,
    }
    pools = instances.pools_of(ingress, workflow)
    pages = await asyncio.gather(*(ingress.engine.waits(pool, query) for pool in pools))
    rows = list(islice(heapq.merge(*pages, key=_place_of), limit + 1))
    page, more = rows[:limit], len(rows) > limit
    return json_response(
        {"items": page, "next": encode_cursor(_place_of(page[-1])) if more else None}
    )


def _place_of(row: dict[str, Any]) -> Place:
    return row["instance"] or "", row["id"], f"{row['workflow']}@{row['version']}"
