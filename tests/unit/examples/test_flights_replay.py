"""The replay's portions, its note, and the refusals of the command line."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flights_options import Refused, prepare
from flights_replay import KILLS, Note, kill_marks, portions

COUNTS = st.integers(min_value=0, max_value=5_000)


@given(COUNTS, COUNTS, st.integers(min_value=1, max_value=700), st.lists(COUNTS, max_size=4))
def test_portions_cover_the_rest_once_and_stop_at_every_mark(
    count: int, done: int, size: int, marks: list[int]
) -> None:
    found = list(portions(count, done, size, marks))
    assert [i for portion in found for i in portion] == list(range(done, count))
    assert all(0 < len(portion) <= size for portion in found)
    ends = {portion.stop for portion in found}
    assert {mark for mark in marks if done < mark <= count} <= ends


@given(st.integers(min_value=8, max_value=5_000), st.data())
def test_the_kills_are_spread_over_the_rest_of_the_day(count: int, data: st.DataObject) -> None:
    done = data.draw(st.integers(min_value=0, max_value=count - 8))
    marks = kill_marks(count, done)
    assert len(set(marks)) == KILLS
    assert all(done < mark < count for mark in marks)


def test_the_note_says_how_far_the_replay_came(tmp_path: Path) -> None:
    assert Note.read(tmp_path) is None
    note = Note(day="2013-02-08", days=2, accepted=120)
    note.write(tmp_path)
    assert Note.read(tmp_path) == note
    assert [path.name for path in tmp_path.iterdir()] == [Note.FILE]


def options(**given: object) -> Namespace:
    usual = {"data": None, "day": None, "days": None, "resume": False}
    return Namespace(**{**usual, **given})


def test_a_replay_goes_on_where_it_stopped(tmp_path: Path) -> None:
    _, begun = prepare(options(data=tmp_path / "new", days=3))
    Note(day=begun.day, days=begun.days, accepted=77).write(tmp_path / "new")
    _, resumed = prepare(options(data=tmp_path / "new", resume=True))
    assert resumed == Note(day="2013-02-08", days=3, accepted=77)


def test_two_replays_are_never_mixed(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no replay"):
        prepare(options(data=tmp_path, resume=True))
    prepare(options(data=tmp_path))
    with pytest.raises(Refused, match="not empty"):
        prepare(options(data=tmp_path))
    with pytest.raises(Refused, match="1 days from 2013-02-08"):
        prepare(options(data=tmp_path, resume=True, days=2))
