"""A later wait meets what came before it."""

from __future__ import annotations

from tests.unit.kernel.bench import (
    Bench,
    begun,
    call,
    one,
    two,
)
from tests.unit.kernel.cases import looking, seeking

from raysume import (
    wait,
    workflow,
)
from raysume.actors.kernel.commits import (
    CancelAsked,
    LookedBack,
)
from raysume.actors.kernel.status import Status

# --- looking back --------------------------------------------------------------------


def test_a_later_wait_takes_an_earlier_call_from_memory() -> None:
    @workflow
    async def late() -> list[int]:
        first = await wait(begun).match_any()
        await wait(two).match_any()
        got: list[int] = []
        while len(got) < 2:
            got.append((await wait(one).match(key=first.input.key)).input.n)
        return got

    bench = Bench(late)
    for method, n in ((one, 0), (begun, 0), (one, 1), (one, 2), (two, 0)):
        bench.push(method, key="a", n=n)
    assert bench.result() == [1, 2]


def test_what_memory_does_not_cover_is_read_from_the_log() -> None:
    bench = Bench(seeking, recent_calls=2)
    order = looking(bench)
    assert (order.method, order.after, order.upto) == (one.urn, (0, 0), (4, 4))
    calls = [call(one, n, key=key, n=n) for n, key in ((1, "b"), (2, "a"), (3, "a"))]
    bench.apply(LookedBack(instance=order.instance, wait=order.wait, calls=calls))
    assert bench.result() == 2


def test_a_call_that_comes_while_the_log_is_read_is_not_lost() -> None:
    bench = Bench(seeking, recent_calls=2)
    order = looking(bench)
    bench.push(one, key="a", n=9)
    assert bench.only.status is Status.WAITING
    bench.apply(LookedBack(instance=order.instance, wait=order.wait, calls=[]))
    assert bench.result() == 9
    assert bench.kernel.looking == {}


def test_the_log_is_read_on_when_memory_moved_on_meanwhile() -> None:
    bench = Bench(seeking, recent_calls=2)
    order = looking(bench)
    for n in (5, 6, 7):
        bench.push(one, key="a", n=n)
    commit = bench.apply(LookedBack(instance=order.instance, wait=order.wait, calls=[]))
    [further] = commit.look_backs
    assert further.after == order.upto
    bench.apply(
        LookedBack(instance=order.instance, wait=order.wait, calls=[call(one, 5, key="a", n=5)])
    )
    assert bench.result() == 5


def test_a_reading_that_ends_after_its_wait_changes_nothing() -> None:
    bench = Bench(seeking, recent_calls=2)
    order = looking(bench)
    bench.apply(CancelAsked(instance=bench.only.id))
    late = LookedBack(instance=order.instance, wait=order.wait, calls=[call(one, 2, key="a")])
    assert bench.apply(late).turns == {}
    assert bench.only.status is Status.CANCELLED
