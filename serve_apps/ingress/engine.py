"""What the ingress asks of the rest of the cluster: a protocol, and the records it exchanges.

The implementation over Ray handles lives with the deployment; the ingress and its
tests know only this.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

import msgspec


class MethodEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One method that may be pushed."""

    urn: str
    service: str
    """The service that owns it, and whose calls its calls are unless another owner pushes them."""
    external: bool
    """True when clients of other services may push it too."""
    local_only: bool
    """True when only workflows of the same service see its calls."""
    input_schema: dict[str, Any]
    """JSON schema (2020-12) of the input object."""
    output_schema: dict[str, Any] | None
    """JSON schema of the output; None when any JSON will do."""
    other_services: frozenset[str] = frozenset()
    """Services that implement it too: they own it as well."""

    @property
    def services(self) -> frozenset[str]:
        """Every service that owns it."""
        return self.other_services | {self.service}


class WorkflowEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a workflow."""

    name: str
    version: str
    pool: str
    """Name of the pool actor that runs it, e.g. "approval@3f2a91/0"."""
    active: bool
    """True for the version that takes new instances."""
    has_parameters: bool
    """True when it is started by clients, False when its first wait starts it."""
    input_schema: dict[str, Any] | None
    """JSON schema of the arguments by name; None when there are no parameters."""
    subscribes: list[str]
    """URNs of the methods that it awaits."""


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """What is deployed now: replaced as a whole when anything changes."""

    version: int
    """Differs for every other content; deliveries name the one they were filtered with. Above 0."""
    generation: int
    """Deployments so far."""
    methods: dict[str, MethodEntry]
    workflows: list[WorkflowEntry]
    pools: dict[str, frozenset[str]]
    """Name of a pool's member -> URNs it awaits. A pool has the name of its first member."""
    owners: dict[str, list[str]] = {}
    """Pool name -> the member that owns each shard, by shard; of a pool that is not there, the
    first member owns all."""


class Engine(Protocol):
    """The cluster behind the ingress. Every method may raise `Unavailable`; the caller retries.

    `pool` is the name of a pool, whatever members it has, except where it is said otherwise.
    """

    def catalogue(self, known: int) -> Awaitable[Catalogue]:
        """The catalogue, as soon as its version differs from `known`, or after about 30 s."""
        ...

    def deliver(self, pool: str, delivery: bytes) -> Awaitable[int]:
        """The member `pool` has the delivery (msgpack of `Delivery`) in memory.

        Returns:
            The calls that the pool has received and not yet worked off.
        """
        ...

    def resize(self, workflow: str, members: int, version: str | None) -> Awaitable[dict[str, Any]]:
        """The pool of the version (None: the active one) has so many members, and each its shards.

        Returns:
            {"pool", "version", "members": {name: [shards]}}.

        Raises:
            NotFound: there is no such workflow or version.
            UsageError: a pool cannot have so many members.
        """
        ...

    def start(self, pool: str, request: bytes) -> Awaitable[bytes]:
        """The instance exists durably; msgpack of `StartRequest` in, of `StartAnswer` out."""
        ...

    def describe(self, pool: str, id: str) -> Awaitable[dict[str, Any] | None]:
        """The pool's instance with this id, or None.

        Keys: id, workflow, version, status, started_at (ISO), updated_at, error, waits, tags;
        failures (since it last went on), retry_at (ISO, of its own retry) and undoing.
        """
        ...

    def command(
        self, pool: str, id: str, kind: str, reason: str
    ) -> Awaitable[dict[str, Any] | None]:
        """The instance was told to `cancel` or `retry`, durably; as `describe` gives it, or None.

        Raises:
            NotRetriable: it has not failed, or its steps were undone.
        """
        ...

    def rewind(self, pool: str, id: str, asked: bytes) -> Awaitable[dict[str, Any] | None]:
        """The instance stands at an earlier point, durably; as `describe` gives it, or None.

        Args:
            asked: JSON of `PointAsked`: to, set, reason.

        Raises:
            NotFound: it never stood there.
            UsageError: it cannot go back there, or a variable cannot be set.
        """
        ...

    def fork(self, pool: str, id: str, asked: bytes) -> Awaitable[bytes | None]:
        """A new instance stands at a point of this one, durably; msgpack of `StartAnswer`, or None.

        Args:
            asked: JSON of `PointAsked`: to, set, reason, id.

        Raises:
            NotFound: the instance never stood there.
            UsageError: the id is taken, or a variable cannot be set.
        """
        ...

    def history(
        self, pool: str, id: str, before: tuple[int, int] | None, limit: int
    ) -> Awaitable[dict[str, Any] | None]:
        """{"items": turns, newest first, "next": place of the last or None at the end}, or None.

        Turns have turn, at (ISO), status, cause, name, id, opened, ended, error, frames and
        container (as `state` has them).

        Args:
            before: only turns before this place.
        """
        ...

    def state(self, pool: str, id: str) -> Awaitable[dict[str, Any] | None]:
        """{"frames": [{definition, file, line, wait, locals}], "container": fields or None}.

        None when the pool has no such instance.
        """
        ...

    def query(
        self, pool: str, id: str, name: str, arguments: bytes, is_text: bool
    ) -> Awaitable[bytes | None]:
        """The answer of a query of the instance as JSON, or None when there is no instance.

        Args:
            arguments: JSON by parameter name; with `is_text`, all values are texts.
        """
        ...

    def result(self, pool: str, id: str, wait_s: float) -> Awaitable[dict[str, Any] | None]:
        """{"status", "result": JSON bytes or None, "error"} once it ended or `wait_s` passed."""
        ...

    def explain(self, pool: str, call: bytes, id: str | None) -> Awaitable[bytes]:
        """How far a call (msgpack of `DeliveredCall`) came; msgpack of a list of `WaitExplained`.

        Args:
            id: only this instance; the list is empty when the pool has none.
        """
        ...

    def waits(self, pool: str, query: dict[str, Any]) -> Awaitable[list[dict[str, Any]]]:
        """A page of the pool's open waits, by instance and wait; standing first waits come first.

        `query` has the keys method, instance, after ([instance, wait, workflow@version] of the
        last row of the page before; all or None), keyless (whether only waits without a key are
        asked for) and limit. Rows have id, instance, workflow,
        version, method, name, key, exclusive, times_out_at.
        """
        ...

    def instances(self, pool: str, query: dict[str, Any]) -> Awaitable[list[dict[str, Any]]]:
        """A page of the pool's instances as `describe` gives them, newest first.

        `query` has the keys workflow, status, since, until (ISO, all or None), tags (by name),
        after ([started_at ISO, id] of the last row of the page before, or None) and limit.
        Newest first means by started_at, then by id, both descending.
        """
        ...
