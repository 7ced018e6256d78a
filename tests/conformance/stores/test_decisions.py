"""Decisions about calls: the first one stays, whoever decides again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from raysume import limits
from raysume.storage.ports import Decision, Store


def made(pos: int, offset: int = 0, *, body: str = "x", **other: str) -> Decision:
    given = {"workflow": "flight", "kind": "verdict", **other}
    return Decision(pos=pos, offset=offset, body=body.encode(), **given)


def places(store: Store, **range_: tuple[int, int]) -> list[tuple[int, int]]:
    found = store.decisions_of("flight", **{"after": (-1, -1), **range_})
    return [(one.pos, one.offset) for one in found]


def test_the_first_decision_about_a_call_stays(store: Store) -> None:
    first = made(1, body="first")
    assert store.decide([first]) == [first]
    assert store.decide([replace(first, body=b"second"), made(2)]) == [first, made(2)]
    assert list(store.decisions_of("flight", after=(-1, -1))) == [first, made(2)]


def test_workflows_places_and_kinds_are_decided_apart(store: Store) -> None:
    given = [made(1), made(1, 1), made(1, kind="claim"), made(1, workflow="alert")]
    given = [replace(one, body=str(number).encode()) for number, one in enumerate(given)]
    assert store.decide(given) == given
    assert list(store.decisions_of("alert", after=(-1, -1))) == [given[3]]


def test_decisions_are_listed_in_the_order_of_places_within_a_range(store: Store) -> None:
    store.decide([made(10, 0), made(9, 7), made(9, 8), made(9, 7, kind="claim"), made(11, 3)])
    assert places(store) == [(9, 7), (9, 7), (9, 8), (10, 0), (11, 3)]
    assert places(store, after=(9, 7)) == [(9, 8), (10, 0), (11, 3)]
    assert places(store, after=(9, 7), upto=(10, 0)) == [(9, 8), (10, 0)]
    assert places(store, after=(9, 6), upto=(9, 7)) == [(9, 7), (9, 7)]
    assert places(store, after=(11, 3)) == []


def test_more_decisions_than_one_read_takes_are_all_listed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("state", "decisions"):
        monkeypatch.setattr(f"raysume.storage.sqlite.{module}.READ_ROWS_MAX", 3)
    store.decide([made(pos, offset) for pos in range(4) for offset in range(2)])
    assert places(store) == [(pos, offset) for pos in range(4) for offset in range(2)]


def test_old_decisions_are_forgotten_in_batches(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("memory.state", "sqlite.decisions"):
        monkeypatch.setattr(f"raysume.storage.{module}.DECISIONS_FORGOTTEN_MAX", 2)
    store.decide([made(pos) for pos in (3, 1, 2, 4)] + [made(1, workflow="alert")])
    assert store.forget_decisions(before_pos=4) == 2
    assert store.forget_decisions(before_pos=4) == 2
    assert store.forget_decisions(before_pos=4) == 0
    assert places(store) == [(4, 0)]
    again = made(1, body="another")
    assert store.decide([again]) == [again]


def test_of_several_that_decide_at_once_one_counts(store: Store) -> None:
    told: list[list[Decision]] = []

    def decide(body: str) -> None:
        told.append(store.decide([made(pos, body=body) for pos in range(20)]))

    threads = [threading.Thread(target=decide, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [told[0]] * 4


def test_a_decision_outlives_its_process(open_store: Callable[[], Store]) -> None:
    first = open_store()
    first.decide([made(1, body="kept")])
    first.close()
    assert open_store().decide([made(1, body="late")]) == [made(1, body="kept")]


def test_a_batch_to_forget_is_bounded() -> None:
    assert 100 <= limits.DECISIONS_FORGOTTEN_MAX <= 10_000
