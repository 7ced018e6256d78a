"""Finding and listing instances; documents."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from raysume.storage.moments import to_us
from raysume.storage.ports import (
    Checkpoint,
    InstanceQuery,
    InstanceRow,
    JournalRow,
    ShardRef,
    Store,
    StoreCommit,
)

START = datetime(2013, 2, 8, 6, 0, tzinfo=UTC)


@pytest.fixture
def filled(store: Store) -> Store:
    """Two workflows, one with two versions; ten instances each, several started together."""
    for workflow, version in (("alert", "a1"), ("flight", "f1"), ("flight", "f2")):
        ref = ShardRef(workflow=workflow, version=version, number=0)
        [shard] = store.acquire([ref], owner="1:0:test")
        rows = [
            InstanceRow(
                shard=shard.key,
                number=number,
                id=f"{number:02}" if version != "f2" else f"x{number:02}",
                workflow=workflow,
                version=version,
                status="completed" if number % 2 else "waiting",
                started_us=to_us(START + timedelta(minutes=number // 3)),
                updated_us=to_us(START + timedelta(hours=1)),
                body=f"{workflow} {number}".encode(),
                tags={"parity": str(number % 2), "number": str(number)} if number < 7 else {},
            )
            for number in range(1, 11)
        ]
        checkpoint = Checkpoint(shard=shard.key, seq=0, header=b"", rows=rows)
        store.commit(StoreCommit(epochs={shard.key: shard.epoch}, checkpoints=[checkpoint]))
    return store


def pages(store: Store, limit: int, filters: Mapping[str, Any]) -> list[InstanceRow]:
    rows: list[InstanceRow] = []
    after = None
    while True:
        page = store.list_instances(InstanceQuery(**filters, after=after, limit=limit))
        rows += page
        if len(page) < limit:
            return rows
        after = (page[-1].started_at, page[-1].id)


def test_an_instance_is_found_by_its_id_in_every_workflow(filled: Store) -> None:
    assert [row.workflow for row in filled.find_instance("07")] == ["alert", "flight"]
    [row] = filled.find_instance("07", workflow="flight")
    assert (row.version, row.number, row.body) == ("f1", 7, b"flight 7")
    assert row.started_at == START + timedelta(minutes=2)
    assert filled.find_instance("99") == []
    assert filled.find_instance("x07", workflow="alert") == []


def test_instances_of_a_version_are_found_by_their_ids(filled: Store) -> None:
    asked = {f"{number:02}" for number in range(3, 90)}
    rows = filled.named_instances(asked, workflow="flight", version="f1")
    assert {row.id for row in rows} == {f"{number:02}" for number in range(3, 11)}
    assert {(row.workflow, row.version) for row in rows} == {("flight", "f1")}
    [row] = filled.named_instances(["x07"], workflow="flight", version="f2")
    assert row == filled.find_instance("x07")[0]
    assert filled.named_instances(["07"], workflow="flight", version="f2") == []
    assert filled.named_instances([], workflow="flight", version="f2") == []


def test_instances_are_listed_newest_first_then_by_id_descending(filled: Store) -> None:
    rows = filled.list_instances(InstanceQuery(workflow="flight"))
    assert len(rows) == 20
    places = [(row.started_at, row.id) for row in rows]
    assert places == sorted(places, reverse=True)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 30),
        ({"workflow": "flight"}, 20),
        ({"workflow": "flight", "version": "f2"}, 10),
        ({"version": "f2"}, 10),
        ({"status": "waiting"}, 15),
        ({"workflow": "alert", "status": "completed"}, 5),
        ({"since": START + timedelta(minutes=3)}, 6),
        ({"until": START + timedelta(minutes=1)}, 6),
        ({"since": START + timedelta(minutes=1), "until": START + timedelta(minutes=2)}, 9),
        ({"workflow": "nobody"}, 0),
        ({"tags": {"parity": "1"}}, 9),
        ({"tags": {"parity": "1", "number": "3"}}, 3),
        ({"tags": {"parity": "1", "number": "3"}, "version": "f2"}, 1),
        ({"tags": {"parity": "0", "number": "3"}}, 0),
        ({"tags": {"other": "1"}}, 0),
    ],
)
def test_a_listing_shows_what_its_filters_admit(
    filled: Store, filters: Mapping[str, Any], count: int
) -> None:
    assert len(filled.list_instances(InstanceQuery(**filters))) == count


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 10, 30])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"workflow": "flight"},
        {"status": "waiting"},
        {"since": START + timedelta(minutes=1), "until": START + timedelta(minutes=3)},
        {"tags": {"parity": "1"}},
    ],
)
def test_pages_together_show_every_instance_once(
    filled: Store, limit: int, filters: Mapping[str, Any]
) -> None:
    whole = filled.list_instances(InstanceQuery(**filters))
    assert pages(filled, limit, filters) == whole
    assert len({(row.shard, row.number) for row in whole}) == len(whole)


def test_an_instance_is_listed_by_the_tags_it_was_saved_with_last(store: Store) -> None:
    [shard] = store.acquire([ShardRef(workflow="w", version="v", number=0)], owner="1:0:test")

    def save(tags: dict[str, str]) -> None:
        row = InstanceRow(
            shard=shard.key,
            number=1,
            id="i",
            workflow="w",
            version="v",
            status="waiting",
            started_us=to_us(START),
            updated_us=to_us(START),
            body=b"",
            tags=tags,
        )
        checkpoint = Checkpoint(shard=shard.key, seq=0, header=b"", rows=[row])
        store.commit(StoreCommit(epochs={shard.key: shard.epoch}, checkpoints=[checkpoint]))

    def listed(**tags: str) -> bool:
        return bool(store.list_instances(InstanceQuery(tags=tags)))

    save({"stage": "first", "kept": "yes"})
    assert listed(stage="first", kept="yes")
    save({"stage": "second", "kept": "yes"})
    assert not listed(stage="first")
    assert listed(stage="second", kept="yes")
    save({})
    assert not listed(kept="yes")
    assert listed()


def test_a_document_is_replaced_and_deleted(store: Store) -> None:
    assert store.get_document("seal", "fingerprint") is None
    store.put_document("seal", "fingerprint", b"one")
    store.put_document("seal", "fingerprint", b"two")
    assert store.get_document("seal", "fingerprint") == b"two"
    store.delete_document("seal", "fingerprint")
    store.delete_document("seal", "fingerprint")
    assert store.get_document("seal", "fingerprint") is None


def test_documents_of_a_kind_come_by_key(store: Store) -> None:
    store.put_document("method", "b", b"2")
    store.put_document("method", "a", b"1")
    store.put_document("other", "c", b"3")
    assert store.documents("method") == [("a", b"1"), ("b", b"2")]
    assert store.documents("none") == []


def test_of_several_who_add_a_document_the_first_one_counts(store: Store) -> None:
    assert store.add_document("seal", "a", b"1") == b"1"
    assert store.add_document("seal", "a", b"2") == b"1"
    assert store.get_document("seal", "a") == b"1"
    store.put_document("seal", "a", b"3")
    assert store.add_document("seal", "a", b"4") == b"3"


@pytest.mark.parametrize("count", [1, 50])
def test_texts_of_users_may_hold_any_character(store: Store, count: int) -> None:
    [shard] = store.acquire([ShardRef(workflow="w", version="v", number=0)], owner="1:0:t")
    odd = "\x00 ' \\ % ? :id \U0001f40c"
    rows = [
        InstanceRow(
            shard=shard.key,
            number=number,
            id=f"{odd}{number}",
            workflow="w",
            version="v",
            status="waiting",
            started_us=to_us(START),
            updated_us=to_us(START),
            body=b"\x00",
            tags={"note": f"{odd}{number}"},
        )
        for number in range(1, count + 1)
    ]
    store.commit(
        StoreCommit(
            epochs={shard.key: shard.epoch},
            journal=[JournalRow(shard=shard.key, seq=1, body=b"")],
            checkpoints=[Checkpoint(shard=shard.key, seq=1, header=b"", rows=rows)],
        )
    )
    assert [row.number for row in store.find_instance(f"{odd}{count}")] == [count]
    tagged = InstanceQuery(tags={"note": f"{odd}{count}"})
    assert [row.number for row in store.list_instances(tagged)] == [count]
