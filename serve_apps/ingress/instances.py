"""Instances over all pools: started, found, listed. Pools know their own; nobody knows all."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

import msgspec

from raysume.actors.kernel.deliveries import StartAnswer, StartRequest
from raysume.errors import Unavailable
from raysume.serve_apps.ingress.engine import Catalogue, WorkflowEntry
from raysume.serve_apps.ingress.ingress import Ingress
from raysume.serve_apps.ingress.problems import Problem
from raysume.serve_apps.ingress.validation import errors_in

T = TypeVar("T")

Place = tuple[str, str]
"""(started_at, id) of an instance: where a page ends."""


async def start(
    ingress: Ingress,
    workflow: str,
    given: dict[str, Any],
    id: str | None,
    *,
    trace: str | None = None,
) -> StartAnswer:
    """The instance exists, durably.

    Args:
        trace: the W3C trace context in which it begins.

    Raises:
        Problem: 404, 409 or 422 when the workflow cannot be started like this.
        Unavailable: its pool cannot be reached; starting the same id again is harmless.
    """
    catalogue = ingress.catalogue
    entry = _startable(catalogue, workflow)
    checker = ingress.input_of(entry)
    if checker is not None and not checker.is_valid(given):
        errors = errors_in(checker, given, field="input", item=None)
        raise Problem(
            422,
            "invalid-input",
            f"{errors[0].field}: {errors[0].message}. Nothing was started.",
            errors=errors,
        )
    if id is not None:
        older = [pool for pool in _pools(catalogue, workflow) if pool != entry.pool]
        existing = await _ask(older, lambda pool: ingress.engine.describe(pool, id))
        for _, found in existing:
            return StartAnswer(
                id=id,
                workflow=workflow,
                version=str(found["version"]),
                status=str(found["status"]),
                created=False,
            )
    request = StartRequest(
        workflow=workflow,
        id=id or "",
        input=msgspec.json.encode(given),
        at_us=time.time_ns() // 1000,
        trace=trace,
    )
    answer = await ingress.engine.start(entry.pool, msgspec.msgpack.encode(request))
    return msgspec.msgpack.decode(answer, type=StartAnswer)


async def find(ingress: Ingress, id: str, workflow: str | None) -> tuple[str, dict[str, Any]]:
    """The pool that has the instance, and its description.

    Raises:
        Problem: 404 when there is none, 409 when several workflows have one.
        Unavailable: it was not found, and not every pool could be asked.
    """
    catalogue = ingress.catalogue
    if workflow is not None:
        _known(catalogue, workflow)
    pools = _pools(catalogue, workflow)
    found = await _ask(pools, lambda pool: ingress.engine.describe(pool, id))
    if workflow is not None:
        found = [one for one in found if one[1].get("workflow") == workflow]
    if not found:
        raise Problem(404, "not-found", f"There is no instance {id[:200]!r}, or it was removed.")
    if len(found) > 1:
        names = sorted({str(one["workflow"]) for _, one in found})
        raise Problem(
            409,
            "ambiguous-instance",
            f"Instances {id[:200]!r} exist in {', '.join(names)}. Say which with ?workflow=.",
        )
    return found[0]


async def page(
    ingress: Ingress,
    *,
    workflow: str | None,
    status: str | None,
    since: datetime | None,
    until: datetime | None,
    tags: dict[str, str],
    after: Place | None,
    limit: int,
) -> tuple[list[dict[str, Any]], Place | None]:
    """At most `limit` instances, newest first, and the place after which the next page begins.

    Raises:
        Problem: 404, there is no such workflow.
        Unavailable: a pool could not be asked; a page with gaps would mislead.
    """
    catalogue = ingress.catalogue
    if workflow is not None:
        _known(catalogue, workflow)
    query: dict[str, Any] = {
        "workflow": workflow,
        "status": status,
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
        "tags": tags,
        "after": None if after is None else list(after),
        "limit": limit + 1,
    }
    pools = _pools(catalogue, workflow)
    pages = await asyncio.gather(*(ingress.engine.instances(pool, query) for pool in pools))
    merged = heapq.merge(*pages, key=_newest_last, reverse=True)
    rows = list(islice(merged, limit + 1))
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], (str(last["started_at"]), str(last["id"]))


def _newest_last(row: dict[str, Any]) -> tuple[datetime, str]:
    return datetime.fromisoformat(row["started_at"]), str(row["id"])


def pools_of(ingress: Ingress, workflow: str | None) -> list[str]:
    """The pools of one workflow, or of all.

    Raises:
        Problem: 404, there is no such workflow.
    """
    catalogue = ingress.catalogue
    if workflow is not None:
        _known(catalogue, workflow)
    return _pools(catalogue, workflow)


def _startable(catalogue: Catalogue, workflow: str) -> WorkflowEntry:
    entries = _known(catalogue, workflow)
    active = next((entry for entry in entries if entry.active), None)
    if active is None:
        raise Problem(
            409,
            "inactive-workflow",
            f"Workflow {workflow!r} takes no new instances. Deploy it as active, or enable it.",
        )
    if not active.has_parameters:
        methods = ", ".join(active.subscribes[:5])
        raise Problem(
            409,
            "started-by-calls",
            f"Workflow {workflow!r} has no parameters: each matching call of its first wait "
            f"starts an instance. Push a call of {methods or 'its method'}.",
        )
    return active


def _known(catalogue: Catalogue, workflow: str) -> list[WorkflowEntry]:
    entries = [entry for entry in catalogue.workflows if entry.name == workflow]
    if not entries:
        raise Problem(404, "not-found", f"There is no workflow {workflow[:200]!r}.")
    return entries


def _pools(catalogue: Catalogue, workflow: str | None) -> list[str]:
    names = [one.pool for one in catalogue.workflows if workflow is None or one.name == workflow]
    return list(dict.fromkeys(names))


async def _ask(
    pools: Sequence[str], question: Callable[[str], Awaitable[T | None]]
) -> list[tuple[str, T]]:
    """Who answered with something. A pool that cannot be asked counts only if nobody did."""
    answers = await asyncio.gather(*(question(pool) for pool in pools), return_exceptions=True)
    found: list[tuple[str, T]] = []
    away: Unavailable | None = None
    for pool, answer in zip(pools, answers, strict=True):
        if isinstance(answer, Unavailable):
            away = answer
        elif isinstance(answer, BaseException):
            raise answer
        elif answer is not None:
            found.append((pool, answer))
    if not found and away is not None:
        raise away
    return found
