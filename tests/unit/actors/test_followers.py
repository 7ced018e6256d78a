"""A deployment waits for the ingress replicas that live, and for no others."""

from __future__ import annotations

from raysume.actors.followers import Followers


def test_a_deployment_is_over_once_every_replica_works_with_it() -> None:
    followers = Followers(silent_s=10, now_s=lambda: 0.0)
    assert followers.all_know(5), "nobody follows"
    assert followers.asked("a", -1)
    assert followers.asked("b", 5)
    assert not followers.all_know(5)
    assert followers.asked("a", 6)
    assert not followers.asked("a", 6)
    assert followers.all_know(5)
    assert not followers.all_know(6)


def test_a_replica_that_asks_no_more_is_not_waited_for() -> None:
    now_s = [0.0]
    followers = Followers(silent_s=10, now_s=lambda: now_s[0])
    followers.asked("dead", 1)
    now_s[0] = 10.0
    followers.asked("living", 2)
    assert not followers.all_know(2)
    now_s[0] = 10.5
    assert followers.all_know(2)
    assert followers.asked("dead", 1), "it has come back"
    assert not followers.all_know(2)
