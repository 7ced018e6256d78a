"""The entries of a shard's index: made of records, merged, and put into pages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysume.actors.kernel.folding import unfolded
from raysume.actors.kernel.index_entries import run_of
from raysume.actors.kernel.index_runs import Newest, Run, in_pages, merged, without
from raysume.actors.kernel.records import ExclusiveRecord, InstanceRecord, TimerRecord, WaitRecord

ID = "00112233445566778899aabbccddeeff"


def wait(*keys: bytes, method: str = "m", order: int = 1, **more: Any) -> WaitRecord:
    return WaitRecord(
        more.pop("id", "1.1"),
        method,
        ("k",) if keys else (),
        keys,
        more.pop("predicate", None),
        None,
        more.pop("looks_back", False),
        None,
        order=order,
        **more,
    )


def record(number: int, **more: Any) -> InstanceRecord:
    usual: dict[str, Any] = {
        "id": f"{number:032x}",
        "status": "waiting",
        "turn": 1,
        "started_us": number,
        "updated_us": number,
        "state": b"state",
        "waits": [wait(b"%016d" % number, order=number + 1)],
        "timers": [],
        "steps": [],
        "inbox": [],
        "horizon": (-1, -1),
        "received": [],
        "result": None,
        "error": None,
        "tags": {},
        "origin": None,
    }
    return InstanceRecord(number=number, **{**usual, **more})


def share(number: int, version: int = 0) -> bytes:
    return b"%08d%08d" % (number, version)


def made(*records: InstanceRecord, gone: Iterable[int] = (), version: int = 0) -> Run:
    with_shares = [(one, share(one.number, version)) for one in records]
    return run_of(with_shares, gone, seq_of=lambda number: 100 * version + number)


def told(run: Run) -> dict[int, tuple[bytes, str, Any]]:
    """number -> share, id and the rest of each entry."""
    found: dict[int, tuple[bytes, str, Any]] = {}
    for one in run.columns:
        for at, id in enumerate(one.folded_ids):
            raw = slice(16 * at, 16 * at + 16)
            rest = (one.kind, one.method, one.shape, one.status, one.seqs[at], one.keys[raw])
            timed = (one.times[at : at + 1], one.timers[at : at + 1])
            assert one.numbers[at] not in found
            found[one.numbers[at]] = (one.shares[raw], unfolded(id), (*rest, *timed))
    for odd in run.odd:
        assert odd.number not in found
        found[odd.number] = (odd.share, odd.id, odd)
    return found


ODD = {
    "no key": [wait(predicate=b"p")],
    "two waits": [wait(b"a" * 16), wait(b"b" * 16, id="1.2")],
    "two keys": [wait(b"a" * 16, b"b" * 16)],
    "a short key": [wait(b"a")],
}


@pytest.mark.parametrize("waits", ODD.values(), ids=ODD)
def test_what_columns_cannot_say_is_said_apart(waits: list[WaitRecord]) -> None:
    run = made(record(3, waits=waits))
    assert run.columns == []
    [odd] = run.odd
    assert (odd.number, odd.share, odd.seq) == (3, share(3), 3)
    assert [(one.method, one.shape, one.keys) for one in odd.waits] == [
        (one.method, one.shape, one.keys) for one in waits
    ]
    assert [one.predicate for one in odd.waits] == [one.predicate for one in waits]


def test_calls_that_nobody_else_may_have_are_kept_of_ended_instances_too() -> None:
    took = ExclusiveRecord([(1, 2)], (0, 0))
    run = made(record(1, exclusive=took), record(2, exclusive=took, status="completed", waits=[]))
    assert [(odd.status, odd.exclusive) for odd in run.odd] == [
        ("waiting", took),
        ("completed", took),
    ]


UNDER_WAY: dict[str, dict[str, Any]] = {
    "looks back": {"waits": [wait(b"a" * 16, looks_back=True)]},
    "without an order": {"waits": [wait(b"a" * 16, order=0)]},
    "undoing": {"undoing": "failed"},
    "running": {"status": "running"},
    "failed": {"status": "failed"},
    "has an inbox": {"inbox": [None]},
    "has a step": {"steps": [None]},
    "has a child": {"children": [None]},
    "ended, with a child": {"status": "cancelled", "children": [None]},
}


@pytest.mark.parametrize("more", UNDER_WAY.values(), ids=UNDER_WAY)
def test_instances_with_something_under_way_are_only_named(more: dict[str, Any]) -> None:
    run = made(record(1), record(2, **more))
    assert [one.kind for one in run.columns] == [0, 2]
    assert told(run)[2][:2] == (share(2), f"{2:032x}")


def test_a_timer_alone_and_one_beside_a_wait_are_usual() -> None:
    timers = [TimerRecord("t", 77)]
    run = made(record(1, timers=timers), record(2, timers=timers, waits=[]), record(3))
    assert run.odd == []
    assert [(one.method, one.times, one.timers) for one in run.columns] == [
        ("m", [77], ["t"]),
        ("", [77], ["t"]),
        ("m", [], []),
    ]


def test_ids_that_are_no_hashes_stand_apart() -> None:
    run = made(record(1), record(2, id="order-2"), record(3, id="ABCDEF" + ID[6:]))
    assert [one.ids for one in run.columns] == [
        bytes.fromhex(f"{1:032x}"),
        ["order-2", "ABCDEF" + ID[6:]],
    ]


def test_a_run_is_the_same_after_it_was_stored() -> None:
    run = made(
        record(1),
        record(2, id="order-2", timers=[TimerRecord("t", 1 << 50)]),
        record(3, status="completed", waits=[]),
        record(4, waits=ODD["no key"]),
        gone=[9, 7],
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(run), type=Run) == run
    assert run.gone == [7, 9]


# --- newest first ------------------------------------------------------------------


@st.composite
def several(draw: st.DrawFn) -> tuple[list[Run], dict[int, int | None]]:
    """Runs, the newest first, and of each number the run with its newest entry; None: removed."""
    runs: list[Run] = []
    newest: dict[int, int | None] = {}
    for version in range(draw(st.integers(1, 5)), 0, -1):
        numbers = draw(st.sets(st.integers(0, 30), max_size=12))
        gone = draw(st.sets(st.sampled_from(sorted(numbers)))) if numbers else set[int]()
        kinds: list[dict[str, Any]] = [
            {},
            {"waits": ODD["two waits"]},
            {"id": f"v{version}"},
            {"status": "completed", "waits": []},
            {"status": "failed"},
            {"timers": [TimerRecord("t", 5)]},
        ]
        records = [
            record(number, **draw(st.sampled_from(kinds))) for number in sorted(numbers - gone)
        ]
        runs.append(made(*records, gone=gone, version=version))
        for number in numbers:
            newest.setdefault(number, None if number in gone else version)
    return runs, newest


def shares(newest: dict[int, int | None]) -> dict[int, bytes]:
    return {number: share(number, one) for number, one in newest.items() if one is not None}


@given(several())
def test_of_several_runs_the_newest_entry_of_an_instance_counts(
    case: tuple[list[Run], dict[int, int | None]],
) -> None:
    runs, expected = case
    whole = merged(runs, is_all=True)
    assert {number: one[0] for number, one in told(whole).items()} == shares(expected)
    assert whole.gone == []
    kept = merged(runs, is_all=False)
    assert told(kept) == told(whole)
    assert kept.gone == sorted(number for number, one in expected.items() if one is None)
    newest = Newest()
    found = [newest.of(run) for run in runs]
    one_by_one = {number: entry for run in found for number, entry in told(run).items()}
    assert one_by_one == told(whole)
    assert all(one.numbers == sorted(one.numbers) for one in whole.columns)


@given(several(), st.integers(1, 8))
def test_merging_in_parts_comes_to_the_same(
    case: tuple[list[Run], dict[int, int | None]], size: int
) -> None:
    runs, _ = case
    whole = merged(runs, is_all=True)
    half = len(runs) // 2
    newer, older = merged(runs[:half], is_all=False), merged(runs[half:], is_all=False)
    assert told(merged([newer, older], is_all=True)) == told(whole)
    pages = in_pages(merged(runs, is_all=False), size)
    assert {n: one for run in pages.values() for n, one in told(run).items()} == told(whole)
    assert all(
        number // size + 1 == page for page, run in pages.items() for number in run.numbers()
    )


@given(several(), st.sets(st.integers(0, 30)))
def test_entries_of_some_instances_can_be_left_out(
    case: tuple[list[Run], dict[int, int | None]], known: set[int]
) -> None:
    for run in case[0]:
        rest = told(without(run, known))
        assert rest == {number: one for number, one in told(run).items() if number not in known}
