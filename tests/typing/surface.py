"""What type checkers say of a program that uses raysume. Not run: read by test_typing.py.

A line ending in `#: T` must reveal the type T; one ending in `# E: what` must be an error.
"""

# ruff: noqa: ARG001, ARG002, ARG005, B018 - only read by type checkers
from __future__ import annotations

import functools
from datetime import timedelta
from typing import reveal_type

from pydantic import BaseModel

from raysume import (
    AsyncClient,
    Client,
    Container,
    Depends,
    Retry,
    all_of,
    any_of,
    external_call,
    group,
    push_call,
    query,
    sleep,
    step,
    subflow,
    wait,
    workflow,
)
from raysume.testing import TestShell


class Order(BaseModel):
    id: int


class Payment(BaseModel):
    amount: int


@push_call("typing.submit")
def submit(order: Order, user: str) -> bool:
    return True


@push_call("typing.later")
async def later(number: int) -> str:
    return str(number)


paid = external_call("typing.paid", input=Payment, output=float)
announced = external_call("typing.announced", input=Payment)


class Desk:
    @push_call("typing.decide")
    def decide(self, ticket: int) -> str:
        return ""

    @subflow
    async def ask(self, question: str) -> int:
        return 1

    async def use(self) -> None:
        reveal_type(await self.ask("?"))  #: int
        await self.ask(5)  # E: argument


def charge(amount: int, currency: str = "EUR") -> bytes:
    return b""


async def fetch(url: str) -> list[int]:
    return []


@subflow
async def escalate(order: Order) -> float:
    return 1.0


reveal_type(submit(Order(id=1), "ann"))  #: bool
submit(1, "ann")  # E: argument
submit(Order(id=1))  # E: argument
reveal_type(Desk().decide(1))  #: str
Desk().decide("x")  # E: argument


@workflow
async def approval() -> str:
    call = await wait(submit).match(order__id=1).timeout(timedelta(days=3))
    reveal_type(call.output)  #: bool
    reveal_type(call.read(lambda order, user: order.id))  #: int
    call.read(lambda order, user: order.nope)  # E: attribute
    call.output = False  # E: read-only

    checked = await wait(submit).match_if(lambda call: call.output and call.input.order.id == 1)
    reveal_type(checked.output)  #: bool
    wait(submit).match_if(lambda call: call.outputs)  # E: attribute

    payment = await wait(paid, name="payment")
    reveal_type(payment.input)  #: Payment
    reveal_type(payment.input.amount)  #: int
    reveal_type(payment.output)  #: float
    payment.input.amont  # E: attribute
    reveal_type((await wait(announced)).output)  #: None

    reveal_type((await wait(Desk.decide)).output)  #: str
    reveal_type(await sleep(timedelta(hours=1)))  #: None

    reveal_type(await step(charge, 5))  #: bytes
    reveal_type(await step(charge, 5, currency="USD"))  #: bytes
    reveal_type(await step(fetch, "http://localhost"))  #: list[int]
    reveal_type(await step(charge, 5, retry=Retry(max_attempts=3)))  #: bytes
    reveal_type(await step(fetch, "u", timeout=timedelta(1), name="n"))  #: list[int]
    step(charge, "five")  # E: argument
    step(charge)  # E: argument
    step(charge, 5, unit="EUR")  # E: argument
    reveal_type(await step(functools.partial(charge, 5)))  #: bytes
    reveal_type(await step(functools.partial(fetch, "u"), retry=Retry(3)))  #: list[int]
    reveal_type(await step(Desk().decide, 7))  #: str
    step(charge, 5, retry=3)  # E: argument
    step(charge, 5, timeout=3)  # E: argument
    step(charge(5))  # E: argument
    Retry(max_attempts="3")  # E: argument
    sleep(3)  # E: argument
    wait(submit).timeout(3)  # E: argument
    wait(submit).since("yesterday")  # E: argument
    wait(submit).match_if(True)  # E: argument
    wait(submit).match_if(lambda: True)  # E: argument
    wait(paid).after_match(lambda call: call.input.amont)  # E: attribute
    wait(paid).when_cancelled(lambda call: None)  # E: argument
    wait("typing.paid")  # E: argument
    wait(paid, name=3)  # E: argument
    reveal_type((await wait(paid).match(amount=1).exclusive().from_now()).output)  #: float
    reveal_type((await wait(paid).match_if(lambda call: call.input.amount > 1)).at)  #: datetime
    reveal_type((await wait(later)).output)  #: str
    reveal_type((await wait(later)).read(lambda number: number))  #: int

    reveal_type(await escalate(Order(id=1)))  #: float
    escalate("order")  # E: argument

    wait(charge)  # E: argument
    return "done"


@workflow
async def groups() -> None:
    reveal_type(await all_of(wait(paid), sleep(timedelta(1))))  #: tuple[Call[Payment, float], None]
    both = await all_of(step(charge, 1), escalate(Order(id=1)), step(fetch, "u"))
    reveal_type(both)  #: tuple[bytes, float, list[int]]
    eight = await all_of(
        step(charge, 1),
        step(charge, 2),
        step(charge, 3),
        step(charge, 4),
        step(charge, 5),
        step(charge, 6),
        step(charge, 7),
        step(fetch, "u"),
    )
    reveal_type(eight[7])  #: list[int]
    many = await all_of(*[step(charge, number) for number in range(9)])
    reveal_type(many)  #: tuple[bytes, ...]

    first = await any_of(wait(paid), sleep(timedelta(1)))
    reveal_type(first.index)  #: int
    reveal_type(first.result)  #: Call[Payment, float] | None
    nested = await any_of(all_of(step(charge, 1), sleep(timedelta(1))), step(fetch, "u"))
    reveal_type(nested.result)  #: tuple[bytes, None] | list[int]

    called, child = await all_of(wait(submit), fulfil(Order(id=1)))
    reveal_type(called.output)  #: bool
    reveal_type(child)  #: int
    six = await all_of(*(fulfil(Order(id=1)), escalate(Order(id=1)), step(charge, 1)))
    reveal_type(six)  #: tuple[int, float, bytes]
    five = await any_of(
        fulfil(Order(id=1)),
        escalate(Order(id=1)),
        step(charge, 1),
        all_of(step(fetch, "u")),
        sleep(timedelta(1)),
    )
    reveal_type(five.result)  #: int | float | bytes | tuple[list[int]] | None
    limited = await all_of(step(charge, 1), step(fetch, "u")).timeout(timedelta(1))
    reveal_type(limited)  #: tuple[bytes, list[int]]
    all_of(3)  # E: argument
    all_of(wait(paid), None)  # E: argument
    any_of([wait(paid), wait(paid)])  # E: argument
    all_of(wait(paid)).timeout(5)  # E: argument
    all_of(wait(paid)).until(lambda g: True)  # E: group

    some = await group(wait(paid), sleep(timedelta(1))).until(lambda g: g.completed >= 1)
    reveal_type(some.completed)  #: int
    group(wait(paid)).until(lambda g: g.complete)  # E: attribute


@workflow(name="typing.fulfil", id=lambda order: f"fulfil-{order.id}", retry=Retry(max_attempts=2))
async def fulfil(order: Order) -> int:
    return order.id


@workflow  # E: argument
def not_async() -> None: ...


@workflow(every=9)  # E: argument
async def at_nine() -> None: ...


@subflow  # E: argument
def not_durable() -> None: ...


@push_call(5)  # E: argument
def no_urn() -> None: ...


external_call("typing.no_input", input=5)  # E: argument


async def runs() -> None:
    reveal_type(await fulfil(Order(id=1)))  #: int
    fulfil("x")  # E: argument


class Mailer:
    pass


def get_mailer() -> Mailer:
    return Mailer()


@workflow
async def wrongly(order: Order = Depends(get_mailer)) -> None:  # E: default
    return None


class Onboarding(Container):
    count: int = 0

    @workflow
    async def run(self, order: Order, mail: Mailer = Depends(get_mailer)) -> str:
        reveal_type(mail)  #: Mailer
        reveal_type(await self.ask(1))  #: bool
        self.count = "many"  # E: type
        return ""

    @subflow
    async def ask(self, number: int) -> bool:
        return True

    @query
    def progress(self, since: int = 0) -> list[str]:
        return []


def asks(client: Client) -> None:
    run = client.start(Onboarding.run, Order(id=1))
    reveal_type(run.result())  #: str
    reveal_type(client.start(fulfil, Order(id=1)).result(timeout=30))  #: int
    reveal_type(client.start(fulfil, order=Order(id=1), id="fulfil-7").result())  #: int
    reveal_type(client.start("typing.fulfil", order=1).result())  #: Any
    reveal_type(run.status())  #: str
    client.start(fulfil, "x")  # E: argument
    client.start(fulfil)  # E: argument
    client.start(fulfil, Order(id=1), id=7)  # E: argument
    client.start(escalate, Order(id=1))  # E: argument
    run.result(timeout="long")  # E: argument
    client.push("typing.paid", {"amount": 1})  # E: argument
    reveal_type(client.query(run, Onboarding.progress, 3))  #: list[str]
    reveal_type(Onboarding().progress(since=3))  #: list[str]
    client.query(run, Onboarding.progress, "x")  # E: argument
    client.query(run, Onboarding.run)  # E: argument


async def asks_later(client: AsyncClient) -> None:
    reveal_type(await client.query("id", Onboarding.progress))  #: list[str]
    run = await client.start(fulfil, Order(id=1))
    reveal_type(await run.result())  #: int
    reveal_type(await (await client.start(fulfil, Order(id=1), id="7")).result())  #: int
    await client.start(fulfil, "x")  # E: argument
    run.result().status  # E: attribute


async def tests() -> None:
    async with TestShell(approval, fulfil) as shell:
        run = await shell.start(fulfil, Order(id=1))
        reveal_type(run.result)  #: int | None
        reveal_type(shell.instances(approval)[0].result)  #: str | None
        reveal_type(await shell.push(submit, order=Order(id=1), user="ann", output=True))  #: str
        reveal_type((run.status, run.waits[0].kind, run.locals))  #: tuple[str, str, dict[str, Any]]
        await shell.start(fulfil, "x")  # E: argument
        await shell.start(fulfil)  # E: argument
        await shell.start(escalate, Order(id=1))  # E: argument
        await shell.advance(3)  # E: argument
        shell.stub(charge, raises="broken")  # E: argument
        shell.instances(charge)  # E: argument
    TestShell("approval")  # E: argument
