"""Every error that raysume raises, in three branches by what the caller can do.

`UsageError`: fix your code. `Unavailable`: retry later. `InvariantViolated`: a bug of
ours, report it. Each has a stable `code` for programs and a message that says what
happened, where, and what to do. All of them survive pickling: they cross Ray, and
they are live variables of workflows that caught them.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self


class RaysumeError(Exception):
    """The root of every error raised by raysume."""

    code: ClassVar[str] = "raysume"
    """Stable, for programs: never changes once released."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details
        """Facts behind the message (JSON-able), e.g. file, line, variable."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.details))

    def __str__(self) -> str:
        return self.message


def _rebuild(cls: type[RaysumeError], message: str, details: dict[str, Any]) -> RaysumeError:
    error = cls.__new__(cls)
    RaysumeError.__init__(error, message, **details)
    return error


# --- fix your code ---------------------------------------------------------------


class UsageError(RaysumeError):
    """The program, its arguments or its configuration must change; retrying cannot help."""

    code = "usage"

    @classmethod
    def by_rule(cls, rule: str, message: str, **details: Any) -> Self:
        """The error of a rule that has a stable id (docs/refusals.md): in `details` and message."""
        return cls(f"{message} [{rule}]", rule=rule, **details)


class CompileError(UsageError):
    """A workflow or subflow cannot be made durable as it is written.

    `details` has `rule` (stable id), `file`, `line`, `column` and `remedy`.
    """

    code = "compile"


class UnsavableState(UsageError):
    """A live variable of a waiting workflow cannot be saved.

    `details` has `variable`, `path`, `file`, `line` and `remedy`.
    """

    code = "unsavable-state"


class ConfigurationError(UsageError):
    """A setting is missing or has a value that cannot be used."""

    code = "configuration"


class InvalidCall(UsageError):
    """A pushed call was refused: unknown method, or data not of the method's types."""

    code = "invalid-call"


class DuplicateCall(UsageError):
    """The same call id was used before with another body."""

    code = "duplicate-call"


class NotFound(UsageError):
    """There is no such workflow, instance, method or call."""

    code = "not-found"


class Unauthorized(UsageError):
    """The bearer token is missing, unknown, or may not do this."""

    code = "unauthorized"


class SealBroken(UsageError):
    """Saved state does not carry the seal of this deployment's key, so it is not opened."""

    code = "seal-broken"


class NotRetriable(UsageError):
    """An instance cannot be retried as it stands; `details` has its `status`."""

    code = "not-retriable"


class NotRewindable(UsageError):
    """An instance cannot go back to that point; `details` has its `status`."""

    code = "not-rewindable"


# --- retry later -----------------------------------------------------------------


class Unavailable(RaysumeError):
    """The engine cannot take this now; the same request may succeed later."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after: float | None = None, **details: Any) -> None:
        if retry_after is not None:
            details["retry_after"] = retry_after
        super().__init__(message, **details)

    @property
    def retry_after(self) -> float | None:
        """Seconds after which trying again makes sense; None when unknown."""
        value = self.details.get("retry_after")
        return None if value is None else float(value)


class Fenced(Unavailable):
    """Another incarnation owns this shard, or holds this office, now; this one must stop and write
    nothing."""

    code = "fenced"


class ShardMoved(Unavailable):
    """Another member of the pool owns the instance's shard; `details` has the instance's `id`.

    Nothing was done. Whoever asks looks up again which member it is, and asks there.
    """

    code = "shard-moved"


class PartitionClosed(Unavailable):
    """The partition takes no more calls; open another one and append there."""

    code = "partition-closed"


class StoreUnavailable(Unavailable):
    """The database refused or did not answer; what was being written is not known to be durable."""

    code = "store-unavailable"


class Overloaded(Unavailable):
    """Calls come faster than they can be stored or worked off; nothing was stored."""

    code = "overloaded"


class ResultTimeout(Unavailable):
    """The instance was not finished within the time given to `result()`; it goes on."""

    code = "result-timeout"


# --- our bug ---------------------------------------------------------------------


class InvariantViolated(RaysumeError):
    """Something that raysume guarantees did not hold: a bug, please report it."""

    code = "invariant-violated"


# --- raised inside workflows -----------------------------------------------------


class WaitTimeout(RaysumeError):
    """Raised at a wait or group whose `.timeout` passed before it was met."""

    code = "wait-timeout"


class StepFailed(RaysumeError):
    """Raised at a step after its last attempt; `__cause__` is the step's own error."""

    code = "step-failed"


class InstanceFailed(RaysumeError):
    """Raised by `run.result()` when the instance is `failed` or `cancelled`."""

    code = "instance-failed"


class ProcessEnded(RaysumeError):
    """A turn or step ended the process in which it ran, again and again, without any exception.

    For a turn it is why its instance is `failed`: the call that it took is kept, and a retry
    applies it again. For a step it is the `__cause__` of the `StepFailed` that is raised at it.
    In the process of a pool (`details["process"]` is "pool") it took all other instances with
    it, so no Retry tries it again, only `run.retry()`; in a Ray task ("task") a Retry does.
    """

    code = "process-ended"


class Cancelled(BaseException):
    """Thrown into a workflow, or a group's loser, that is being cancelled.

    A `BaseException`, so that `except Exception` in user code does not swallow it;
    `finally` blocks run, waits in them included.
    """
