"""What is held against whom after a process of a pool has ended."""

from __future__ import annotations

from collections.abc import Iterable

from raysume import limits
from raysume.actors.trials import Note, after_death

ENOUGH, TWICE = limits.QUARANTINE_DEATHS, limits.QUARANTINE_TURN_DEATHS


def died(note: Note | None, unfinished: Iterable[str], *, begun: Iterable[str] = ()) -> Note:
    """What is noted after the death of a process that had these on trial, and tried no more."""
    if note is not None:
        note = Note(
            deaths=note.deaths,
            alone=note.alone,
            patience=note.patience,
            begun=tuple(begun),
            is_open=note.is_open,
        )
    return after_death(note, unfinished, in_turn=False)


def suspected(*work: str) -> Note:
    """What is noted of work that was unfinished at enough deaths."""
    note: Note | None = None
    for _ in range(ENOUGH):
        note = died(note, work)
    assert note is not None
    return note


def test_work_is_suspected_when_it_was_unfinished_at_several_deaths_in_a_row() -> None:
    note: Note | None = None
    for _ in range(ENOUGH - 1):
        note = died(note, ["long", "short"])
        assert (note.suspects, note.is_open) == ([], True)
    note = died(note, ["long", "new"])
    assert (note.suspects, note.is_open) == (["long"], False)
    assert died(note, ["new"]).deaths == {"new": 1}, "what has ended is forgotten"


def test_work_that_ends_the_process_alone_again_is_the_culprit_and_the_others_stay_suspects() -> (
    None
):
    note = suspected("good", "bad")
    for _ in range(TWICE):
        assert note.culprits == {}
        note = died(note, ["good", "bad"], begun=["bad"])
    assert note.culprits == {"bad": ENOUGH + TWICE}
    assert note.suspects == ["good"]


def test_what_began_last_is_tried_first_and_what_had_not_begun_is_suspected_no_more() -> None:
    note = suspected("one", "two", "three")
    note = died(note, ["one", "two", "three"], begun=["one", "two"])
    assert note.suspects == ["two", "one"]
    assert note.culprits == {}


def test_nothing_is_held_against_work_that_had_not_begun() -> None:
    note = suspected("one", "two")
    assert died(note, ["one", "two", "new"]).deaths == {"one": ENOUGH, "two": ENOUGH, "new": 0}


def test_nothing_is_held_against_work_when_the_process_ended_in_a_turn_that_was_watched() -> None:
    note = suspected("one")
    tried = Note(deaths=note.deaths, begun=("one",), is_open=False)
    assert after_death(tried, ["one"], in_turn=True).alone == {}
    assert after_death(tried, ["one"], in_turn=False).alone == {"one": 1}


def test_a_suspect_that_outlived_its_trial_is_tried_for_twice_the_time() -> None:
    note = suspected("slow")
    tried = Note(deaths=note.deaths, begun=("slow",), is_open=True)
    again = after_death(tried, ["slow", "beside"], in_turn=False)
    assert again.alone == {}, "others ran beside it"
    assert again.trial_s(1) == 2 * note.trial_s(1)
    assert again.suspects == ["slow"]
    assert after_death(again, ["beside"], in_turn=False).patience == 0


def test_all_trials_together_are_bounded() -> None:
    note = suspected("slow")
    assert note.trial_s(1) == limits.QUARANTINE_TRIAL_S
    many = limits.QUARANTINE_TRIALS_MAX
    assert many * note.trial_s(10_000) <= limits.QUARANTINE_TRIALS_S
