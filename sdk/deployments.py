"""What a module deploys: its workflows, and the methods that they may wait for."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

from raysume import registry
from raysume.errors import UsageError
from raysume.methods import BoundMethod, Method
from raysume.workflows import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Workflows and methods with unique names."""

    workflows: Mapping[str, Workflow[..., Any]]
    """By name."""
    methods: Mapping[str, Method]
    """By URN; of several declarations of one URN, the one that says whose it is."""
    declared: tuple[Method, ...]
    """Every declaration: an interface's method, its implementation and a stub may share a URN."""


def collect(module: ModuleType) -> Deployment:
    """Everything that `module` defines or can see, and the methods of all loaded modules.

    Raises:
        UsageError: two workflows have one name, or two methods with different signatures
            one URN; names both places.
    """
    return deployment(*seen_by(module))


def seen_by(module: ModuleType) -> tuple[list[Workflow[..., Any]], list[Method]]:
    """The workflows that `module` defines or can see, and the methods of all loaded modules."""
    found = list(_visible(module))
    methods = [*registry.declarations(), *(value for value in found if isinstance(value, Method))]
    return [value for value in found if isinstance(value, Workflow)], methods


def deployment(workflows: list[Workflow[..., Any]], methods: list[Method]) -> Deployment:
    """The workflows by name and the methods by URN.

    Raises:
        UsageError: two workflows have one name, or two methods with different signatures
            one URN; names both places.
        CompileError: a workflow, or a subflow that it names, waits where or how it cannot, which
            could not be told before all names were defined.
    """
    from raysume.compiler.forewarning import check_reachable

    by_name: dict[str, Workflow[..., Any]] = {}
    for one in workflows:
        one.check_owner()
        check_reachable(one.definition, deploys=True)
        other = by_name.setdefault(one.name, one)
        if other is not one:
            raise UsageError.by_rule(
                "duplicate-workflow",
                f"two workflows are named {one.name!r}: at {other.place} and at {one.place}. "
                "Give one of them another name with @workflow(name=...).",
            )
    by_urn: dict[str, list[Method]] = {}
    for method in dict.fromkeys(methods):
        same = by_urn.setdefault(method.urn, [])
        if same:
            registry.refuse_another_signature(same[0], method)
        same.append(method)
    owners = {urn: registry.owner_among(same) or same[0] for urn, same in by_urn.items()}
    declared = tuple(method for same in by_urn.values() for method in same)
    return Deployment(workflows=by_name, methods=owners, declared=declared)


def _visible(module: ModuleType) -> Iterator[Any]:
    """The workflows and methods among a module's globals and in its classes, each once."""
    seen: set[int] = set()
    for value in _candidates(module):
        meant = _meant(value)
        if meant is not None and id(meant) not in seen:
            seen.add(id(meant))
            yield meant


def _candidates(module: ModuleType) -> Iterator[Any]:
    for value in list(vars(module).values()):
        yield value
        if not inspect.isclass(value):
            continue
        if value.__module__ == module.__name__ or hasattr(value, "__raysume_container__"):
            yield from _of_class(value)


def _of_class(owner: type) -> Iterator[Any]:
    for base in owner.__mro__:
        if base.__module__ == owner.__module__:
            for value in list(vars(base).values()):
                yield value
                if inspect.isclass(value) and value.__qualname__.startswith(owner.__qualname__):
                    yield from _of_class(value)


def _meant(value: Any) -> Workflow[..., Any] | Method | None:
    meant: Any = value
    if isinstance(value, staticmethod | classmethod):
        meant = cast(Any, value).__func__
    if isinstance(meant, BoundMethod):
        return meant.method
    return cast(Any, meant) if isinstance(meant, Workflow | Method) else None
