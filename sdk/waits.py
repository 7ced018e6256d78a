"""Waits: values that describe which call an instance waits for.

A wait is built by a chain of calls, each of which returns a new one, and does nothing until
it is awaited: helper functions may return it, lists may hold it, groups may nest it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    ParamSpec,
    Self,
    TypeVar,
    overload,
)

from raysume.durable import Durable, current_turn
from raysume.errors import UsageError
from raysume.methods import BoundMethod, ExternalMethod, Method, PushedMethod, method_of

if TYPE_CHECKING:
    from raysume.call import Call, PushedCall

C_co = TypeVar("C_co", covariant=True)
I_ = TypeVar("I_")
O_ = TypeVar("O_")
P = ParamSpec("P")

Mailbox = Literal["mailbox", "from_now"] | datetime
"""Which earlier calls may meet a wait: those not received yet, none, or those since a moment."""


class Wait(Durable, Generic[C_co]):
    """A wait for a call of one method. Immutable: every method returns another wait."""

    __slots__ = (
        "fields",
        "is_exclusive",
        "limit",
        "mailbox",
        "matches_any",
        "method",
        "name",
        "on_cancel",
        "on_match",
        "predicate",
    )
    durable_kind: ClassVar[str] = "wait"

    method: Method
    """What is waited for."""
    name: str | None
    """Given by the user; unique in nothing."""
    fields: tuple[tuple[str, Any], ...]
    """Equalities of `.match`: (path in the input, with dots; value)."""
    predicate: Callable[[Any], Any] | None
    """The function of `.match_if`."""
    matches_any: bool
    """`.match_any()` was said."""
    limit: timedelta | None
    """`.timeout`."""
    mailbox: Mailbox
    is_exclusive: bool
    on_match: Callable[[Any], Any] | None
    on_cancel: Callable[[], Any] | None

    def __init__(self, method: Method, name: str | None = None) -> None:
        self.method = method
        self.name = name
        self.fields = ()
        self.predicate = None
        self.matches_any = False
        self.limit = None
        self.mailbox = "mailbox"
        self.is_exclusive = False
        self.on_match = None
        self.on_cancel = None

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, Any, C_co]: ...

    def _copy(self) -> Self:
        made = object.__new__(type(self))
        made.method = self.method
        made.name = self.name
        made.fields = self.fields
        made.predicate = self.predicate
        made.matches_any = self.matches_any
        made.limit = self.limit
        made.mailbox = self.mailbox
        made.is_exclusive = self.is_exclusive
        made.on_match = self.on_match
        made.on_cancel = self.on_cancel
        return made

    def match(self, /, **fields: Any) -> Self:
        """Only calls whose input has these values; `a__b=1` looks at field b of field a.

        Raises:
            UsageError: the method has no such parameter.
        """
        paths = _path_checker()(self.method, tuple(fields))
        made = self._copy()
        made.fields = self.fields + tuple(zip(paths, fields.values(), strict=True))
        return made

    def match_if(self, predicate: Callable[[C_co], object], *, when: object = True) -> Self:
        """Only calls for which `predicate(call)` is true; of several, the last one set counts.

        Args:
            predicate: usually a lambda over the call and the workflow's variables, whose
                values are those at the moment of the wait.
            when: set only when this is true.
        """
        if not callable(predicate):
            raise UsageError(
                f"match_if needs a function of the call, e.g. lambda call: call.output, "
                f"not {predicate!r}."
            )
        if not when:
            return self
        made = self._copy()
        made.predicate = predicate
        return made

    def match_any(self) -> Self:
        """Every call of the method."""
        made = self._copy()
        made.matches_any = True
        return made

    def after_match(self, function: Callable[[C_co], object]) -> Self:
        """`function(call)` runs once before the workflow goes on."""
        made = self._copy()
        made.on_match = function
        return made

    def when_cancelled(self, function: Callable[[], object]) -> Self:
        """`function()` runs when the wait is cancelled."""
        made = self._copy()
        made.on_cancel = function
        return made

    def timeout(self, limit: timedelta) -> Self:
        """WaitTimeout is raised at the wait after `limit`.

        Raises:
            ValueError: the limit is not positive.
        """
        made = self._copy()
        made.limit = positive(limit, "timeout")
        return made

    def since(self, moment: datetime) -> Self:
        """Calls accepted from `moment` on may match, received ones excepted.

        Raises:
            ValueError: `moment` has no time zone.
        """
        made = self._copy()
        made.mailbox = aware(moment, "since")
        return made

    def from_now(self) -> Self:
        """Only calls accepted after the wait was registered may match."""
        made = self._copy()
        made.mailbox = "from_now"
        return made

    def exclusive(self) -> Self:
        """Of all instances whose wait matches a call, only the one waiting longest gets it."""
        made = self._copy()
        made.is_exclusive = True
        return made

    def __getstate__(self) -> tuple[Any, ...]:
        return (
            self.method,
            self.name,
            self.fields,
            self.predicate,
            self.matches_any,
            self.limit,
            self.mailbox,
            self.is_exclusive,
            self.on_match,
            self.on_cancel,
        )

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        (
            self.method,
            self.name,
            self.fields,
            self.predicate,
            self.matches_any,
            self.limit,
            self.mailbox,
            self.is_exclusive,
            self.on_match,
            self.on_cancel,
        ) = state

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<wait{name} for {self.method.urn!r}>"


@cache
def _path_checker() -> Callable[[Method, tuple[str, ...]], tuple[str, ...]]:
    """See `paths.checked_paths`, which is built on waits: so it is looked up at the first use."""
    from raysume.matching.paths import checked_paths

    return checked_paths


@overload
def wait(
    method: PushedMethod[P, Coroutine[Any, Any, O_]], name: str | None = None
) -> Wait[PushedCall[P, O_]]: ...
@overload
def wait(method: PushedMethod[P, O_], name: str | None = None) -> Wait[PushedCall[P, O_]]: ...
@overload
def wait(method: ExternalMethod[I_, O_], name: str | None = None) -> Wait[Call[I_, O_]]: ...
@overload
def wait(method: Method | BoundMethod, name: str | None = None) -> Wait[Call[Any, Any]]: ...
def wait(method: Any, name: str | None = None) -> Any:
    """A wait for a call of `method`; awaited, it gives the `Call`.

    Raises:
        UsageError: `method` is not a pushed or external method.
    """
    made: Wait[Any] = Wait(method if isinstance(method, Method) else method_of(method), name)
    return made


class Sleep(Durable):
    """A durable timer: due after a delay from the moment it is awaited, or at a moment."""

    __slots__ = ("delay", "until")
    durable_kind: ClassVar[str] = "sleep"

    delay: timedelta | None
    until: datetime | None

    def __init__(self, delay: timedelta | None = None, until: datetime | None = None) -> None:
        self.delay, self.until = delay, until

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, Any, None]: ...

    def __reduce__(self) -> tuple[Any, ...]:
        return (Sleep, (self.delay, self.until))

    def __repr__(self) -> str:
        return f"<sleep {self.delay if self.delay is not None else self.until}>"


def sleep(delay: timedelta) -> Sleep:
    """A durable timer that is due `delay` after it is awaited.

    Raises:
        ValueError: the delay is not positive.
    """
    return Sleep(delay=positive(delay, "sleep"))


def sleep_until(moment: datetime) -> Sleep:
    """A durable timer that is due at `moment`.

    In a workflow the clock that counts is that of its turn, `instance().now`: in a TestShell
    the shell's. A sleep that was kept in a variable until its moment passed ends at once.

    Raises:
        ValueError: `moment` has no time zone, or has passed.
    """
    until = aware(moment, "sleep_until")
    turn = current_turn.get()
    has_passed = until <= datetime.now(UTC) if turn is None else turn.has_passed(until)
    if has_passed:
        clock = "datetime.now(UTC)" if turn is None else "instance().now"
        raise ValueError(
            f"sleep_until needs a moment to come; {until.isoformat()} has passed. Compare it with "
            f"{clock} first, and go on without sleeping."
        )
    return Sleep(until=until)


def positive(delay: object, what: str) -> timedelta:
    """`delay`, which is known to be a time above zero.

    Raises:
        ValueError: it is zero or negative.
    """
    if not isinstance(delay, timedelta):
        raise UsageError(f"{what} needs a timedelta, e.g. timedelta(days=3), not {delay!r}.")
    if delay <= timedelta(0):
        raise ValueError(f"{what} needs a time above zero, not {delay}.")
    return delay


def aware(moment: object, what: str) -> datetime:
    """`moment`, which is known to have a time zone.

    Raises:
        ValueError: it has none.
    """
    if not isinstance(moment, datetime):
        raise UsageError(f"{what} needs a datetime, not {moment!r}.")
    if moment.utcoffset() is None:
        raise ValueError(
            f"{what} needs a datetime with a time zone, e.g. datetime.now(UTC); "
            f"{moment.isoformat()} has none."
        )
    return moment


_durable: Any
for _durable in (wait, sleep, sleep_until):
    _durable.__raysume_durable__ = True
