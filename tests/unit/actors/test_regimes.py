"""Which calls need a verdict, by what the versions of a workflow may wait for."""

from __future__ import annotations

from raysume.actors.bidding import regimes_of
from raysume.actors.deployed_workflows import Awaits
from raysume.actors.handover import Boundary
from raysume.actors.regimes import Waiting, needed, rule
from raysume.storage.memory.state import MemoryStore


def version(
    first: str, later: str = "", *, exclusive: bool = False, once: str | None = None
) -> Waiting:
    named = frozenset(first + later)
    awaits = Awaits(
        named=named,
        once=frozenset(first if once is None else once) - frozenset(later),
        is_exclusive=exclusive,
    )
    return Waiting(methods=frozenset("abcdef"), awaits=awaits, first=frozenset(first))


def methods(*letters: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(one) for one in letters)


def test_a_method_that_all_versions_await_only_first_needs_no_verdict() -> None:
    assert needed(version("a", "b"), [version("a", "b")]) == methods("", "a")


def test_a_method_that_starts_in_one_version_and_is_awaited_later_in_another_does() -> None:
    assert needed(version("a", "b"), [version("b", "a")]) == methods("a", "a")
    assert needed(version("a", "a"), [version("a")]) == methods("a", "a")
    assert needed(version("a", once=""), []) == methods("a", "a")


def test_whatever_may_be_awaited_exclusively_does() -> None:
    assert needed(version("a", "b"), [version("a", "c", exclusive=True)]) == methods("ac", "a")


def test_a_version_of_which_nothing_is_known_may_wait_for_everything_in_any_way() -> None:
    unknown = Waiting(methods=frozenset("ax"), awaits=None, first=None)
    assert needed(version("a", "b"), [unknown]) == methods("ax", "a")


def test_a_regime_is_kept_and_the_one_that_it_replaces_is_gone() -> None:
    store = MemoryStore()
    here, further = (Boundary(offsets={1: offset}, newest=(0, offset)) for offset in (3, 5))
    nothing: frozenset[str] = frozenset()
    assert rule(store, "w", here, methods=nothing, starts=nothing) is None
    assert regimes_of(store, "w") == []
    first = rule(store, "w", here, methods=frozenset("a"), starts=nothing)
    assert regimes_of(store, "w") == [first]
    second = rule(store, "w", further, methods=frozenset("a"), starts=nothing, replaces=first)
    assert regimes_of(store, "w") == [second]
    third = rule(store, "w", further, methods=nothing, starts=nothing)
    assert regimes_of(store, "w") == [second, third]
