"""Ray as seen by type checkers: its own annotations are too partial to check against.

Everything of Ray's that the engine calls goes through the names here, which are `Any` on
purpose, in one place. They are loaded on first use: importing Ray takes half a second.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from raysume.actors.specs import NAMESPACE
from raysume.errors import RaysumeError

__all__ = [
    "CRASHES",
    "DEATHS",
    "RayError",
    "RayTaskError",
    "actor_named",
    "cause_of",
    "in_group",
    "ray",
    "serve",
]

F = TypeVar("F", bound=Callable[..., Any])

ray: Any = importlib.import_module("ray")
"""The `ray` module."""


CRASHES = (
    WorkerCrashedError,
    NodeDiedError,
    LocalRayletDiedError,
    OutOfMemoryError,
    ObjectLostError,
)
"""How a task ends whose process or node died under it, or with what it had just given."""

DEATHS = (WorkerCrashedError, OutOfMemoryError)
"""Those for which the task itself may be the reason."""


def in_group(name: str) -> Callable[[F], F]:
    """The method of an actor runs in its concurrency group of this name: a thread of its own."""
    decorator: Callable[[F], F] = ray.method(concurrency_group=name)
    return decorator


def serve() -> Any:
    """The `ray.serve` module."""
    return importlib.import_module("ray.serve")


def actor_named(name: str) -> Any:
    """The handle of the engine's actor with this name.

    Raises:
        ValueError: there is none.
    """
    return ray.get_actor(name, namespace=NAMESPACE)


def cause_of(error: RayTaskError) -> RaysumeError | None:
    """The error of ours that was raised in the other process; None when it was none of ours."""
    cause: object = getattr(error, "cause", None)
    return cause if isinstance(cause, RaysumeError) else None
