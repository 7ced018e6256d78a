"""What a client of the proof sends lets every instance finish."""

from __future__ import annotations

from collections import Counter, defaultdict

from scale_tests.faults.journal import Sent
from scale_tests.faults.load import TICKS, Plan


def sent_by(plan: Plan, *, batches: int, size: int) -> list[Sent]:
    """Everything that the plan has sent, one batch a second, and then until nothing is left."""
    calls: list[Sent] = []
    for now in range(batches):
        batch = plan.batch(size, now, ending=False)
        assert len(batch) == size
        plan.accepted(batch, now)
        calls += batch
    while batch := plan.batch(size, batches, ending=True):
        plan.accepted(batch, batches)
        calls += batch
    return calls


def test_every_counting_instance_gets_all_its_calls_after_its_start_in_order() -> None:
    got: dict[str, list[int]] = defaultdict(list)
    for call in sent_by(Plan("a", 1), batches=50, size=100):
        if call.method == "opened":
            assert call.key not in got
            got[call.key] = []
        elif call.method == "ticked":
            got[call.key].append(call.n)
    assert len(got) > 50
    assert all(numbers == list(range(TICKS)) for numbers in got.values())


def test_every_order_is_paid_once_and_most_questions_are_answered() -> None:
    calls = sent_by(Plan("a", 1), batches=50, size=100)
    methods = Counter(call.method for call in calls)
    assert methods["paid"] == methods["ordered"] > 10
    assert 0 < methods["answered"] < methods["asked"]
    assert len(set(calls)) == len(calls)


def test_two_clients_share_no_key() -> None:
    keys = [
        {call.key for call in sent_by(Plan(name, 1), batches=5, size=100)} for name in ("a", "b")
    ]
    assert not keys[0] & keys[1]
