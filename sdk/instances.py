"""`instance()`: what a workflow's code may know about the instance it runs in."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol, cast

from raysume import limits
from raysume.durable import current_turn
from raysume.errors import UsageError


class Instance(Protocol):
    """The running instance, as its own code sees it."""

    @property
    def id(self) -> str:
        """The instance's id, unique within its workflow."""
        ...

    @property
    def workflow(self) -> str:
        """The name of its workflow."""
        ...

    @property
    def version(self) -> str:
        """The version of the workflow that it runs."""
        ...

    @property
    def started_at(self) -> datetime:
        """When it started (aware, UTC)."""
        ...

    @property
    def now(self) -> datetime:
        """When this run of its code, from one wait to the next, began (aware, UTC).

        In a TestShell by the shell's clock, which `advance` moves: reckon moments for
        `sleep_until` and `.since` from it, and tests decide what time it is.
        """
        ...

    @property
    def log(self) -> Any:
        """A structlog logger bound to the instance."""
        ...

    def tag(self, **attributes: Any) -> None:
        """The instance has these searchable attributes; equal names are replaced.

        Values are kept as text: `client.instances(tag={"city": "Paris"})` finds them.

        Raises:
            UsageError: a value is too long, or there are too many.

        Durability: with the turn that set them.
        """
        ...


class RunningInstance:
    """An `Instance` made of plain values; tags are collected in `tags` for the turn's commit."""

    __slots__ = ("_log", "id", "now", "started_at", "tags", "version", "workflow")

    def __init__(
        self, *, id: str, workflow: str, version: str, started_at: datetime, now: datetime
    ) -> None:
        self.id, self.workflow, self.version = id, workflow, version
        self.started_at, self.now = started_at, now
        self.tags: dict[str, Any] = {}
        """What `tag` was given since the turn began."""
        self._log: Any = None

    def tag(self, **attributes: Any) -> None:
        """The attributes are in `tags`."""
        for name, value in attributes.items():
            if len(str(value)) > limits.TAG_CHARS_MAX:
                raise UsageError.by_rule(
                    "tag-too-long",
                    f"tag {name!r} has {len(str(value)):,} characters; {limits.TAG_CHARS_MAX} are "
                    "allowed, because instances are searched by it. Keep long texts in variables.",
                )
        if len({*self.tags, *attributes}) > limits.TAGS_MAX:
            raise UsageError.by_rule(
                "too-many-tags",
                f"an instance may set {limits.TAGS_MAX} tags. Tag what it is searched by, and "
                "keep the rest in variables.",
            )
        self.tags.update(attributes)

    @property
    def log(self) -> Any:
        """A structlog logger bound to workflow, version and instance."""
        if self._log is None:
            import structlog

            self._log = structlog.get_logger("raysume").bind(
                workflow=self.workflow, version=self.version, instance=self.id
            )
        return self._log

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError(
            "instance() is known anew in every turn and is not kept across a wait: keep "
            "instance().id instead, or call instance() again after the wait"
        )


def instance() -> Instance:
    """The instance whose code is running.

    Raises:
        UsageError: no workflow's code is running here.
    """
    turn = current_turn.get()
    if turn is None:
        raise UsageError(
            "instance() is known only in the code of a workflow or subflow while it runs. In a "
            "step, pass instance().id as an argument."
        )
    return cast(Instance, turn.instance)
