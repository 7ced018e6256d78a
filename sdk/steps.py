"""Steps: plain functions that run outside the workflow's turn, and how they are retried."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, Protocol, TypeVar, overload

from raysume.durable import Durable
from raysume.errors import UsageError
from raysume.undoing import compensation_arguments
from raysume.waits import positive

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

current_step: ContextVar[str | None] = ContextVar("raysume_step", default=None)
"""The key of the step that is running; set around the step's function."""


class InvalidArguments(UsageError, TypeError):
    """The arguments given to `step` are not those of its function."""

    code = "invalid-arguments"


@dataclass(frozen=True)
class Retry:
    """How often and when something that failed is tried again.

    Raises:
        ValueError: a number is out of range.
    """

    max_attempts: int
    """Attempts in all, the first included."""
    initial: timedelta = timedelta(seconds=1)
    """The pause after the first attempt."""
    backoff: float = 2.0
    """Each pause is this many times the one before."""
    maximum: timedelta = timedelta(minutes=5)
    """No pause is longer."""
    jitter: bool = True
    """Each pause is between half and all of its length, at random, so that many do not retry at once."""
    give_up_on: tuple[type[BaseException], ...] = ()
    """Errors that trying again cannot cure."""

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"Retry.max_attempts must be at least 1, not {self.max_attempts}.")
        if self.initial < timedelta(0) or self.maximum < timedelta(0):
            raise ValueError("Retry.initial and Retry.maximum cannot be negative.")
        if self.backoff < 1:
            raise ValueError(f"Retry.backoff must be at least 1, not {self.backoff}.")
        if isinstance(self.give_up_on, type):
            object.__setattr__(self, "give_up_on", (self.give_up_on,))

    def delay_after(self, attempt: int, random: float) -> timedelta:
        """The pause between attempt number `attempt` (from 1) and the next.

        Args:
            random: in [0, 1), drawn by the caller.
        """
        longest = self.maximum.total_seconds()
        try:
            length = min(longest, self.initial.total_seconds() * self.backoff ** (attempt - 1))
        except OverflowError:
            length = longest
        if self.jitter:
            length *= 0.5 + 0.5 * random
        return timedelta(seconds=length)

    def gives_up(self, attempt: int, error: BaseException) -> bool:
        """Whether attempt number `attempt` (from 1), which ended with `error`, was the last."""
        return attempt >= self.max_attempts or isinstance(error, self.give_up_on)


class Step(Durable, Generic[T_co]):
    """A call of a plain function that runs outside the turn; its result is recorded once."""

    __slots__ = ("args", "compensate", "function", "kwargs", "name", "ray", "retry", "time_limit")
    durable_kind: ClassVar[str] = "step"

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    retry: Retry | None
    """None: one attempt."""
    time_limit: timedelta | None
    """Of one attempt; None: none."""
    ray: Mapping[str, Any] | None
    """Options of the Ray task that runs it; None: it runs in the pool's executor."""
    compensate: Callable[..., Any] | None
    """Undoes the step when its instance fails later or is cancelled."""
    name: str | None

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        retry: Retry | None,
        time_limit: timedelta | None,
        ray: Mapping[str, Any] | None,
        compensate: Callable[..., Any] | None,
        name: str | None,
    ) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        self.retry, self.time_limit, self.ray = retry, time_limit, ray
        self.compensate, self.name = compensate, name

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, Any, T_co]: ...

    @property
    def label(self) -> str:
        """What to call it: its name, else the function's."""
        return self.name or _label(self.function)

    def __reduce__(self) -> tuple[Any, ...]:
        options = (self.retry, self.time_limit, self.ray, self.compensate, self.name)
        return (Step, (self.function, self.args, self.kwargs, *options))

    def __repr__(self) -> str:
        return f"<step {self.label}>"


class StepFunction(Protocol):
    """How type checkers see `step`.

    A ParamSpec cannot stand beside further keywords, so arguments are checked statically
    where there are no options, and by `step` itself in every case.
    """

    # fmt: off
    @overload
    def __call__(self, fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, retry: Retry | None, timeout: timedelta | None = None, ray: Mapping[str, Any] | None = None, compensate: Callable[..., Any] | None = None, name: str | None = None, **kwargs: Any) -> Step[T]: ...
    @overload
    def __call__(self, fn: Callable[..., T], /, *args: Any, retry: Retry | None, timeout: timedelta | None = None, ray: Mapping[str, Any] | None = None, compensate: Callable[..., Any] | None = None, name: str | None = None, **kwargs: Any) -> Step[T]: ...
    @overload
    def __call__(self, fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, timeout: timedelta | None, retry: Retry | None = None, ray: Mapping[str, Any] | None = None, compensate: Callable[..., Any] | None = None, name: str | None = None, **kwargs: Any) -> Step[T]: ...
    @overload
    def __call__(self, fn: Callable[..., T], /, *args: Any, timeout: timedelta | None, retry: Retry | None = None, ray: Mapping[str, Any] | None = None, compensate: Callable[..., Any] | None = None, name: str | None = None, **kwargs: Any) -> Step[T]: ...
    @overload
    def __call__(self, fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, ray: Mapping[str, Any] | None, retry: Retry | None = None, timeout: timedelta | None = None, compensate: Callable[..., Any] | None = None, name: str | None = None, **kwargs: Any) -> Step[T]: ...
    @overload
    def __call__(self, fn: Callable[..., T], /, *args: Any, ray: Mapping[str, Any] | None, retry: Retry | None = None, timeout: timedelta | None = None, compensate: Callable[..., Any] | None = None, name: str | None = None, **kwargs: Any) -> Step[T]: ...
    @overload
    def __call__(self, fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, compensate: Callable[..., Any] | None, retry: Retry | None = None, timeout: timedelta | None = None, ray: Mapping[str, Any] | None = None, name: str | None = None, **kwargs: Any) -> Step[T]: ...
    @overload
    def __call__(self, fn: Callable[..., T], /, *args: Any, compensate: Callable[..., Any] | None, retry: Retry | None = None, timeout: timedelta | None = None, ray: Mapping[str, Any] | None = None, name: str | None = None, **kwargs: Any) -> Step[T]: ...
    @overload
    def __call__(self, fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, name: str | None, retry: Retry | None = None, timeout: timedelta | None = None, ray: Mapping[str, Any] | None = None, compensate: Callable[..., Any] | None = None, **kwargs: Any) -> Step[T]: ...
    @overload
    def __call__(self, fn: Callable[..., T], /, *args: Any, name: str | None, retry: Retry | None = None, timeout: timedelta | None = None, ray: Mapping[str, Any] | None = None, compensate: Callable[..., Any] | None = None, **kwargs: Any) -> Step[T]: ...
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> Step[T]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Step[T]: ...
    # fmt: on


def _step(
    fn: Callable[..., Any],
    /,
    *args: Any,
    retry: Retry | None = None,
    timeout: timedelta | None = None,
    ray: Mapping[str, Any] | None = None,
    compensate: Callable[..., Any] | None = None,
    name: str | None = None,
    **kwargs: Any,
) -> Any:
    """A step that calls `fn(*args, **kwargs)`; awaited, it gives what the function returns.

    What it returns is saved, and written into the journal whole: one larger than
    `limits.STEP_RESULT_BYTES_MAX` fails the step, and one that a variable keeps is written
    again at every wait. Keep large data elsewhere, and return where it is. From a Ray task a
    large result reaches the pool through Ray's object store; what is recorded durably is the
    result itself, since the object store does not outlive its node.

    Args:
        fn: a plain function, sync or async. For a parameter named like one of the options
            use `functools.partial`.
        retry: None means one attempt.
        timeout: of one attempt, from when it begins. A synchronous function that ran out of
            time, or whose step was cancelled, goes on to its end in its thread: nothing can
            stop a thread. What it returns then does not count.
        ray: options of a Ray task, e.g. `{"num_gpus": 1}`, in which it runs, independent of the
            pool; None runs it in the pool. In a TestShell it runs in place. When the step is
            cancelled, the task is interrupted (KeyboardInterrupt), and its process killed if
            it has not ended a few seconds later.
        compensate: undoes the completed step when the instance fails for good later or is
            cancelled. It is called with the step's arguments, or none if it takes none; a
            parameter named `result` gets what the step returned.
        name: for showing, and for naming it in a group's results.

    Raises:
        InvalidArguments: a `TypeError`; the function does not take these arguments.
        UsageError: `fn` is not a function that can be a step.
        ValueError: the timeout is not positive.
    """
    _check_function(fn)
    if retry is not None and not isinstance(retry, Retry):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"retry= needs a Retry, e.g. Retry(max_attempts=5), not {retry!r}.")
    signature = _signature(fn)
    if signature is not None:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArguments(
                f"step({_label(fn)}, ...) cannot be called so: {error}. The function is "
                f"{_label(fn)}{signature}."
            ) from None
    if compensate is not None:
        _check_compensation(compensate, args, kwargs)
    limit = None if timeout is None else positive(timeout, "timeout")
    made: Step[Any] = Step(fn, args, kwargs, retry, limit, ray, compensate, name)
    return made


def step_key() -> str:
    """The key of the running step: the same in every attempt, for use as an idempotency key.

    Raises:
        UsageError: no step is running.
    """
    key = current_step.get()
    if key is None:
        raise UsageError("step_key() is known only inside a function run by step(...).")
    return key


def _check_function(fn: object) -> None:
    if getattr(fn, "__raysume_durable__", False):
        raise UsageError(
            f"{_label(fn)} is durable: await it directly instead of giving it to step(...). "
            "A step is a plain function, which cannot wait durably."
        )
    if inspect.iscoroutine(fn):
        fn.close()
        raise UsageError(
            "step(...) takes the function and its arguments: write step(fn, x), not step(fn(x))."
        )
    if not callable(fn):
        raise UsageError(
            f"step(...) takes a function and its arguments, not {fn!r}: write step(fn, x), "
            "not step(fn(x))."
        )


def _check_compensation(
    compensate: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    _check_function(compensate)
    try:
        compensation_arguments(compensate, args, kwargs, None)
    except TypeError as error:
        raise InvalidArguments(
            f"compensate={_label(compensate)} cannot be called with the arguments of its step: "
            f"{error}. Give it the step's parameters (and `result`, if it needs what the step "
            "returned), or none."
        ) from None


_signatures: weakref.WeakKeyDictionary[Any, inspect.Signature] = weakref.WeakKeyDictionary()


def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    """The signature of a function, looked up once as long as the function lives."""
    try:
        return _signatures[fn]
    except (KeyError, TypeError):
        pass
    try:
        found = inspect.signature(fn)
    except (ValueError, TypeError):
        return None  # some builtins have none
    if inspect.isfunction(fn):
        _signatures[fn] = found
    return found


def _label(fn: object) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return str(getattr(fn, "__qualname__", None) or type(fn).__name__)


_made: Any = _step
_made.__name__ = _made.__qualname__ = "step"
_made.__raysume_durable__ = True
step: StepFunction = _made
