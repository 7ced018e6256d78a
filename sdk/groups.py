"""Groups: several durable things awaited at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, cast, overload

from raysume.durable import Durable
from raysume.errors import UsageError
from raysume.waits import positive

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
T6 = TypeVar("T6")
T7 = TypeVar("T7")
T8 = TypeVar("T8")


@dataclass(frozen=True, slots=True)
class First(Generic[T_co]):
    """The member of an `any_of` that finished first."""

    index: int
    """Its place among the members, from 0."""
    name: str | None
    """Its name, when it was given one."""
    result: T_co


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupResult:
    """How far a `group` is, in its filter, or was when the filter was met."""

    completed: int
    """Members that finished."""
    results: Mapping[str | int, Any]
    """Their results, by name where the member has one, else by index from 0."""
    pending: tuple[str | int, ...]
    """The names or indexes of the others."""


class Group(Durable, Generic[T_co]):
    """Several durable things at once: all of them, the first, or until a filter is met."""

    __slots__ = ("filter", "kind", "limit", "members")
    durable_kind: ClassVar[str] = "group"

    kind: Literal["all", "any", "until"]
    members: tuple[Any, ...]
    """Waits, sleeps, steps, subflow calls and groups."""
    limit: timedelta | None
    """`.timeout`."""
    filter: Callable[[GroupResult], Any] | None
    """Of `group(...).until`; None means until all are finished."""

    def __init__(
        self,
        kind: Literal["all", "any", "until"],
        members: tuple[Any, ...],
        limit: timedelta | None = None,
        filter: Callable[[GroupResult], Any] | None = None,
    ) -> None:
        self.kind, self.members, self.limit, self.filter = kind, members, limit, filter

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, Any, T_co]: ...

    def timeout(self, limit: timedelta) -> Group[T_co]:
        """WaitTimeout is raised at the group after `limit`, and its members are cancelled.

        Raises:
            ValueError: the limit is not positive.
        """
        return Group(self.kind, self.members, positive(limit, "timeout"), self.filter)

    def until(
        self: Group[GroupResult], filter: Callable[[GroupResult], object]
    ) -> Group[GroupResult]:
        """The group finishes as soon as `filter(progress)` is true after a member finished."""
        if self.kind != "until":
            raise UsageError(
                f"{self.kind}_of(...) knows when it is finished; use group(...).until(filter)."
            )
        if not callable(filter):
            raise UsageError(f"until needs a function of the progress, not {filter!r}.")
        return Group(self.kind, self.members, self.limit, filter)

    def names(self) -> tuple[str | int, ...]:
        """How `GroupResult` calls each member: its name where it has one, else its index."""
        return tuple(
            index if (name := name_of(member)) is None else name
            for index, member in enumerate(self.members)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (Group, (self.kind, self.members, self.limit, self.filter))

    def __repr__(self) -> str:
        call = {"all": "all_of", "any": "any_of", "until": "group"}[self.kind]
        return f"<{call} {', '.join(map(repr, self.members))}>"


def name_of(member: object) -> str | None:
    """The name that the user gave to a wait or step; None for everything else."""
    name = getattr(member, "name", None)
    return name if isinstance(name, str) else None


def _members(members: tuple[Any, ...], call: str) -> tuple[Any, ...]:
    if len(members) == 1 and isinstance(members[0], list | tuple):
        raise UsageError.by_rule(
            "group-of-list", f"{call} takes its members one by one: write {call}(*members)."
        )
    if not members:
        raise UsageError.by_rule(
            "empty-group",
            f"{call}() has no members, so it could never finish. Leave it out when there is "
            "nothing to wait for.",
        )
    for index, member in enumerate(members):
        if not isinstance(member, Durable):
            raise _refusal(member, index, call)
    names = [name for member in members if (name := name_of(member)) is not None]
    for name in names:
        if names.count(name) > 1 and call == "group":
            raise UsageError.by_rule(
                "member-named-twice",
                f"two members of a group are named {name!r}; rename one of them.",
            )
    return members


def _refusal(member: object, index: int, call: str) -> UsageError:
    if member is None:
        return UsageError.by_rule(
            "member-is-none",
            f"member {index} of {call}(...) is None. Leave it out of the members.",
        )
    if isinstance(member, Awaitable):
        coroutine = cast(Any, member)
        name = getattr(coroutine, "__qualname__", type(coroutine).__name__)
        if hasattr(coroutine, "close"):
            coroutine.close()
        return UsageError.by_rule(
            "unmarked-subflow",
            f"member {index} of {call}(...) is the coroutine {name}, which is not durable. "
            f"Decorate {name} with @subflow, or run it as step({name}, ...).",
        )
    return UsageError.by_rule(
        "member-not-durable",
        f"member {index} of {call}(...) is {member!r}. Members are waits, sleeps, steps, calls "
        "of subflows, and groups.",
    )


# fmt: off
@overload
def all_of(a: Awaitable[T1], /) -> Group[tuple[T1]]: ...
@overload
def all_of(a: Awaitable[T1], b: Awaitable[T2], /) -> Group[tuple[T1, T2]]: ...
@overload
def all_of(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], /) -> Group[tuple[T1, T2, T3]]: ...
@overload
def all_of(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], /) -> Group[tuple[T1, T2, T3, T4]]: ...
@overload
def all_of(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], e: Awaitable[T5], /) -> Group[tuple[T1, T2, T3, T4, T5]]: ...
@overload
def all_of(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], e: Awaitable[T5], f: Awaitable[T6], /) -> Group[tuple[T1, T2, T3, T4, T5, T6]]: ...
@overload
def all_of(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], e: Awaitable[T5], f: Awaitable[T6], g: Awaitable[T7], /) -> Group[tuple[T1, T2, T3, T4, T5, T6, T7]]: ...
@overload
def all_of(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], e: Awaitable[T5], f: Awaitable[T6], g: Awaitable[T7], h: Awaitable[T8], /) -> Group[tuple[T1, T2, T3, T4, T5, T6, T7, T8]]: ...
# fmt: on
@overload
def all_of(*members: Awaitable[T]) -> Group[tuple[T, ...]]: ...
def all_of(*members: Any) -> Any:
    """All members; awaited, the tuple of their results in order.

    If a member raises, the others are cancelled and the error is raised.

    Raises:
        UsageError: there are no members, or one is not durable.
    """
    made: Group[Any] = Group("all", _members(members, "all_of"))
    return made


# fmt: off
@overload
def any_of(a: Awaitable[T1], /) -> Group[First[T1]]: ...
@overload
def any_of(a: Awaitable[T1], b: Awaitable[T2], /) -> Group[First[T1] | First[T2]]: ...
@overload
def any_of(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], /) -> Group[First[T1] | First[T2] | First[T3]]: ...
@overload
def any_of(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], /) -> Group[First[T1] | First[T2] | First[T3] | First[T4]]: ...
@overload
def any_of(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], e: Awaitable[T5], /) -> Group[First[T1] | First[T2] | First[T3] | First[T4] | First[T5]]: ...
@overload
def any_of(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], e: Awaitable[T5], f: Awaitable[T6], /) -> Group[First[T1] | First[T2] | First[T3] | First[T4] | First[T5] | First[T6]]: ...
@overload
def any_of(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], e: Awaitable[T5], f: Awaitable[T6], g: Awaitable[T7], /) -> Group[First[T1] | First[T2] | First[T3] | First[T4] | First[T5] | First[T6] | First[T7]]: ...
@overload
def any_of(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], e: Awaitable[T5], f: Awaitable[T6], g: Awaitable[T7], h: Awaitable[T8], /) -> Group[First[T1] | First[T2] | First[T3] | First[T4] | First[T5] | First[T6] | First[T7] | First[T8]]: ...
# fmt: on
@overload
def any_of(*members: Awaitable[T]) -> Group[First[T]]: ...
def any_of(*members: Any) -> Any:
    """The first member to finish; awaited, a `First`. The others are cancelled.

    Raises:
        UsageError: there are no members, or one is not durable.
    """
    made: Group[Any] = Group("any", _members(members, "any_of"))
    return made


def group(*members: Awaitable[Any]) -> Group[GroupResult]:
    """Members until a filter is met; awaited, a `GroupResult`. The others are cancelled.

    Without `.until(...)`, until all are finished.

    Raises:
        UsageError: there are no members, one is not durable, or two have the same name.
    """
    return Group("until", _members(members, "group"))


_durable: Any
for _durable in (all_of, any_of, group):
    _durable.__raysume_durable__ = True
