"""What the participants of the arbitration simulation run: orders that start or meet, offers for one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from raysume import WaitTimeout, any_of, external_call, step, wait, workflow

PROMPT = timedelta(seconds=2)


class Order(BaseModel):
    """What the calls carry."""

    group: str = ""
    plan: str = ""
    n: int = 0


ordered = external_call("trading.ordered", input=Order)
offered = external_call("trading.offered", input=Order)


def work(n: int) -> int:
    """A step."""
    return n


@workflow(name="trading.trade")
async def trade() -> dict[str, Any]:
    """Started by an order whose group nobody waits for; then it does what the order's plan says.

    o: the next order of the group; t: the same, for a while only; f: one that comes from now on;
    r: the same, until a step has ended; e: an offer that nobody else gets; x: the same, for a
    while only; s: a step.
    """
    first = await wait(ordered).match_any()
    group, orders, offers = first.input.group, list[int](), list[int]()
    for letter in first.input.plan:
        try:
            if letter == "o":
                orders.append((await wait(ordered).match(group=group)).input.n)
            elif letter == "t":
                orders.append((await wait(ordered).match(group=group).timeout(PROMPT)).input.n)
            elif letter == "f":
                next_one = await wait(ordered, name="fresh").match(group=group).from_now()
                orders.append(next_one.input.n)
            elif letter == "r":
                done = await any_of(
                    wait(ordered, name="fresh").match(group=group).from_now(),
                    step(work, len(orders)),
                )
                orders += [] if isinstance(done.result, int) else [done.result.input.n]
            elif letter == "e":
                offers.append((await wait(offered).match_any().exclusive()).input.n)
            elif letter == "x":
                won = await wait(offered).match_any().exclusive().timeout(PROMPT)
                offers.append(won.input.n)
            else:
                await step(work, len(orders))
        except WaitTimeout:
            continue
    return {"orders": orders, "offers": offers}
