"""The arbiter: whose bids it waits for, and what it makes of them."""

from __future__ import annotations

from raysume.actors.kernel.arbiter import Arbiter, Participant
from raysume.actors.kernel.bids import ANY_VERSION, Bid, Verdict


def bid(
    *,
    takes: bool = False,
    waits_since: tuple[int, str] | None = None,
    starts: bool = False,
    knows_starts: bool = True,
    shards: tuple[int, ...] = (),
) -> Bid:
    return Bid(
        partition=1,
        offset=5,
        pos=9,
        method="m",
        takes=takes,
        waits_since=waits_since,
        starts=starts,
        knows_starts=knows_starts,
        shards=shards,
    )


def arbiter(*names: str) -> Arbiter:
    made = Arbiter()
    for name in names:
        made.participants[name] = Participant(version=name[0], methods=("m",))
    return made


def verdict_on(**bids: Bid) -> Verdict:
    made = arbiter(*bids)
    for name, one in bids.items():
        assert made.verdicts() == []
        made.bid(name, name[0], one)
    [verdict] = made.verdicts()
    return verdict


def test_whoever_takes_a_call_keeps_it_from_starting_an_instance() -> None:
    verdict = verdict_on(a=bid(takes=True), b=bid(starts=True))
    assert (verdict.is_taken, verdict.winner, verdict.starter) == (True, None, None)


def test_of_exclusive_waits_the_one_waiting_longest_wins_and_starts_nothing() -> None:
    verdict = verdict_on(
        a=bid(waits_since=(7, "x")), b=bid(waits_since=(6, "y"), starts=True), c=bid()
    )
    assert (verdict.is_taken, verdict.winner, verdict.starter) == (True, "y", None)


def test_a_call_that_nobody_takes_starts_an_instance_of_the_version_whose_wait_matches() -> None:
    verdict = verdict_on(a=bid(knows_starts=False), b=bid(starts=True))
    assert (verdict.is_taken, verdict.starter) == (False, "b")
    assert verdict_on(a=bid(knows_starts=False), b=bid()).starter is None


def test_a_call_of_a_version_that_is_away_is_left_to_it() -> None:
    assert verdict_on(a=bid(knows_starts=False)).starter == ANY_VERSION


def test_a_participant_that_has_passed_the_call_or_does_not_get_it_need_not_bid() -> None:
    made = arbiter("a", "b", "c")
    made.participants["c"].methods = ("other",)
    made.bid("a", "a", bid())
    assert made.missing() == {"b": [(1, 5)]}
    made.stands("b", {1: 5})
    assert made.verdicts() == []
    made.stands("b", {1: 6})
    assert len(made.verdicts()) == 1


def test_one_that_is_given_up_is_not_waited_for_and_its_bid_counts_all_the_same() -> None:
    made = arbiter("a", "b", "c")
    made.bid("a", "a", bid(starts=True))
    made.bid("b", "b", bid(takes=True))
    del made.participants["b"], made.participants["c"]
    [verdict] = made.verdicts()
    assert verdict.is_taken
    made.settled([verdict])
    assert made.verdicts() == []


def test_a_participant_that_got_a_shard_after_it_bid_is_waited_for_again() -> None:
    made = arbiter("1a", "1b")
    made.bid("1b", "1", bid(shards=(2, 3)))
    del made.participants["1a"]  # it has given its shards to the other one, and did not bid
    made.participants["1b"] = Participant(version="1", methods=("m",), shards=(0, 1, 2, 3))
    assert made.verdicts() == []
    assert made.missing() == {"1b": [(1, 5)]}
    made.bid("1b", "1", bid(takes=True, shards=(0, 1, 2, 3)))
    made.bid("1b", "1", bid(shards=(2, 3)))  # the former one again, late
    [verdict] = made.verdicts()
    assert verdict.is_taken


def test_a_shard_that_moved_is_spoken_for_by_whoever_had_it_before_the_same_call() -> None:
    made = arbiter("1a", "1b")
    made.bid("1a", "1", bid(takes=True, shards=(0, 1)))
    made.bid("1b", "1", bid(shards=(2, 3)))
    del made.participants["1a"]
    made.participants["1b"] = Participant(version="1", methods=("m",), shards=(0, 1, 2, 3))
    [verdict] = made.verdicts()
    assert verdict.is_taken
