"""Which instances are packed, and which stay objects because something of them is under way."""

from __future__ import annotations

from tests.unit.kernel.bench import Bench, begun, one

from raysume import any_of, step, wait, workflow


def work(n: int) -> int:
    """A step."""
    return n


@workflow
async def racing() -> int:
    """Waits for a call and for a step at the same time, then for a call only."""
    first = await wait(begun).match_any()
    await any_of(wait(one).match(key=first.input.key), step(work, 1))
    return (await wait(one).match(key=first.input.key)).input.n


def test_an_instance_with_a_step_under_way_is_not_packed_and_asks_for_it_again() -> None:
    bench = Bench(racing, loaded_instances=0)
    asked = bench.push(begun, key="k").steps
    assert len(asked) == 1
    assert bench.kernel.instances.packed == 0
    assert bench.restart().steps == asked


def test_an_instance_that_only_waits_is_packed_and_goes_on() -> None:
    bench = Bench(racing, loaded_instances=0)
    bench.push(begun, key="k")
    bench.push(one, key="k", n=1)
    assert bench.kernel.instances.packed == 1
    bench.restart()
    assert bench.kernel.instances.packed == 1
    assert [value for _, value in bench.push(one, key="k", n=7).results] == [7]
