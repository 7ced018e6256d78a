"""Clients of the engine: push calls, start workflows, look at instances.

Names are loaded on first use: the outbox needs parts of this package, but not the clients.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysume.client.async_client import AsyncClient
    from raysume.client.async_runs import AsyncListing, AsyncRun
    from raysume.client.client import Client
    from raysume.client.operations import InstanceFacts
    from raysume.client.questions import Frame, InstanceState, TurnFacts, WaitFacts, WorkflowFacts
    from raysume.client.runs import Listing, Run

__all__ = [
    "AsyncClient",
    "AsyncListing",
    "AsyncRun",
    "Client",
    "Frame",
    "InstanceFacts",
    "InstanceState",
    "Listing",
    "Run",
    "TurnFacts",
    "WaitFacts",
    "WorkflowFacts",
]

_PLACES = {
    "AsyncClient": "async_client",
    "AsyncListing": "async_runs",
    "AsyncRun": "async_runs",
    "Client": "client",
    "Listing": "runs",
    "Run": "runs",
    "InstanceFacts": "operations",
    "Frame": "questions",
    "InstanceState": "questions",
    "TurnFacts": "questions",
    "WaitFacts": "questions",
    "WorkflowFacts": "questions",
}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{place}"), name)
