"""Waits that no index finds: which are told of, and that lint and run time agree."""

from __future__ import annotations

import pytest
from tests.unit.linting.conftest import Lint

from raysume.matching import bind

KEYLESS = [
    "call.input.amount > n",
    "call.input.amount != n",
    "n < call.input.amount <= 9",
    "call.input.order == n or call.input.amount > n",
    "not call.input.order == n",
    "call.input.is_final",
    "not call.input.is_final and call.input.amount > n",
    "call.input.lines == [n]",
    "call.input.order == call.input.amount",
    "call.input.parent == None",
    "call.input.parent is None and call.input.amount > n",
    "call.input.order in ()",
    "call.input.order in (1, None)",
    "(x := call.input.order) == n and x > 0",
    "n == 7",
    "call.output",
    "call.input.payer.startswith(str(n))",
    "call.input.order == n if call.input.is_final else True",
]
KEYED = [
    "call.input.order == n",
    "n == call.input.order and call.input.amount > n",
    "call.input.order == n & 1023",
    "(call.input.order == n) & (call.input.is_final)",
    "call.input.order in (n, n + 1)",
    "call.input.payer.lower() == 'ann'",
    "call.input.order + 1 == n",
    "call.input.is_final and call.input.payer == str(n)",
    "call.input.parent == n and (call.input.amount > 3 or call.input.is_final)",
]


@pytest.mark.parametrize("expression", [*KEYLESS, *KEYED])
def test_lint_says_of_a_predicate_what_the_matching_makes_of_it(
    lint: Lint, expression: str
) -> None:
    linted = lint(f"""
        def made(n: int):
            return wait(paid).match_if(lambda call: {expression})

        @workflow
        async def by_helper(n: int) -> None:
            await made(n)

        @workflow
        async def directly(n: int) -> None:
            await wait(paid).match_if(lambda call: {expression})
    """)
    assert linted.module is not None
    is_keyless = bind(linted.module.made(7)).shape == ()
    assert is_keyless == (expression in KEYLESS)
    assert [one.rule for one in linted.findings] == ["wait-without-key"] * (2 * is_keyless)
    assert [one.workflow for one in linted.findings] == ["by_helper", "directly"][: 2 * is_keyless]


def test_a_comparison_is_named_with_a_field_for_an_equality(lint: Lint) -> None:
    linted = lint("""
        @workflow
        async def flow(limit: int) -> None:
            await wait(paid).match_if(
                lambda call: call.input.amount > limit and call.input.is_final
            )
    """)
    found = linted.only()
    assert (found.rule, found.severity) == ("wait-without-key", "warning")
    assert (found.file, found.line) == (
        str(linted.written.file),
        linted.written.line_of("await wait(paid)"),
    )
    assert found.end_line == found.line + 2
    assert "`call.input.amount > limit` is compared one by one or by range" in found.message
    assert "`call.input.is_final` only divides the calls in two" in found.message
    assert "call.input.order == value and" in found.remedy
    assert ".match(order=value)" in found.remedy
    assert "order, amount, payer, parent" in found.remedy
    assert "is_final" not in found.remedy


def test_a_field_of_a_field_is_named_as_match_spells_it(lint: Lint) -> None:
    linted = lint("""
        @workflow
        async def flow(tag: str) -> None:
            await wait(submit).match_if(lambda call: tag in call.input.order.tags)
    """)
    assert "call.input.order.id == value" in linted.only().remedy
    assert ".match(order__id=value)" in linted.only().remedy


@pytest.mark.parametrize(
    "body",
    [
        "await wait(submit).match_any()",
        "await wait(submit).match_if(lambda call: call.output)",
        "low = 3\n    await wait(submit).match_if(lambda call: call.input.order.id > low)",
        "await any_of(wait(submit).match_any(), wait(paid).match_if(lambda call: call.output))",
        "await begin()",
        "first = begin()\n    await first",
        "await all_of(*[each() for each in (begin,)])",
        (
            "if low():\n        await wait(submit).match_any()\n"
            "    else:\n        await wait(submit).match_if(lambda call: call.output)"
        ),
    ],
)
def test_the_first_wait_of_a_workflow_that_calls_start_is_not_told_of(
    lint: Lint, body: str
) -> None:
    linted = lint(f"""
def low() -> int:
    return 1


@subflow
async def begin() -> None:
    await wait(submit).match_if(lambda call: call.output)


@workflow
async def flow() -> None:
    {body}
    await wait(paid).match(order=1)
""")
    assert linted.findings == []


@pytest.mark.parametrize(
    "flow",
    [
        "async def flow(n: int) -> None:\n    await {wait}",
        "async def flow() -> None:\n    n = 1\n    while True:\n        await {wait}",
        "async def flow() -> None:\n    n = 1\n    await sleep(timedelta(1))\n    await {wait}",
        (
            "async def flow() -> None:\n    n = 1\n    try:\n        await wait(submit).match_any()\n"
            "    finally:\n        await {wait}"
        ),
        (
            "async def flow() -> None:\n    n = (await wait(submit).match_any()).input.order.id\n"
            "    try:\n        pass\n    finally:\n        await {wait}"
        ),
        (
            "async def flow() -> None:\n    n = 1\n    try:\n        await wait(submit).match_any()\n"
            "    except ValueError:\n        await {wait}"
        ),
        (
            "async def flow() -> None:\n    await wait(submit).match_any()\n    n = 1\n"
            "    await any_of(sleep(timedelta(1)), all_of({wait}))"
        ),
    ],
)
def test_every_other_wait_is_told_of(lint: Lint, flow: str) -> None:
    wait = "wait(paid).match_if(lambda call: call.input.amount > n)"
    linted = lint("@workflow\n" + flow.replace("{wait}", wait))
    assert linted.rules == [("wait-without-key", "warning")]


def test_a_scheduled_workflow_has_no_standing_wait(lint: Lint) -> None:
    linted = lint("""
        @workflow(every="0 9 * * MON")
        async def flow() -> None:
            n = 1
            await wait(paid).match_if(lambda call: call.input.amount > n)
    """)
    assert linted.rules == [("wait-without-key", "warning")]


def test_what_is_evaluated_once_for_all_instances_is_only_information(lint: Lint) -> None:
    linted = lint("""
        LIMIT = 3

        def large(call) -> bool:
            return call.input.amount > LIMIT

        @workflow
        async def flow(n: int) -> None:
            await wait(paid, name="1").match_if(lambda call: call.input.amount > LIMIT)
            await wait(paid, name="2").match_if(large)
            await wait(paid, name="3").match_any()
            await wait(paid, name="4").match_any().exclusive()
            await wait(paid, name="5").match_if(SMALL)
            await wait(paid, name="6").match_if(SEVENTH)

        SMALL = lambda call: call.input.amount < LIMIT
        SEVENTH = lambda call: call.input.order == 7
    """)
    assert linted.rules == [("wait-without-key", "info")] * 4
    assert [one.line for one in linted.findings] == [
        linted.written.line_of(f'name="{n}"') for n in (1, 2, 3, 5)
    ]
    assert "`large` is no lambda" in linted.findings[1].message
    assert "`SMALL` implies no equality" in linted.findings[3].message


@pytest.mark.parametrize(
    "body",
    [
        "await wait(paid).match(order=n)",
        "await wait(paid).match(order=n).match_if(lambda call: call.input.amount > n)",
        "await wait(paid).match(order=n).match_if(given)",
        "await wait(paid).match(**given)",
        "await wait(paid).match_if(given)",
        "await wait(given).match_if(lambda call: call.input.amount > n)",
        (
            "later = wait(paid).match_if(lambda call: call.input.amount > n)\n"
            "    await later.match(order=n)"
        ),
        "await any_of(*(wait(paid).match(order=n, payer=who) for who in 'ab'))",
    ],
)
def test_what_has_a_key_or_cannot_be_judged_is_not_told_of(lint: Lint, body: str) -> None:
    assert lint(f"@workflow\nasync def flow(n: int, given) -> None:\n    {body}").findings == []


@pytest.mark.parametrize(
    "body",
    [
        "await wait(paid).match(parent=None)",
        "await wait(paid).match(lines=[n])",
        "def mine(call):\n        return call.input.order == n\n    await wait(paid).match_if(mine)",
        "waits = [wait(paid).match_if(lambda call: call.input.amount > n)]\n    await all_of(*waits)",
        (
            "await wait(paid).match_if(lambda call: call.input.order == n).match_if("
            "lambda call: call.input.amount > n, when=n > 3)"
        ),
        "await wait(paid).match_if(lambda call, n=n: call.input.amount > n)",
        "await ask(n)",
        (
            "@subflow\n    async def inner() -> None:\n"
            "        await wait(paid).match_if(lambda call: call.input.amount > n)\n    await inner()"
        ),
    ],
)
def test_waits_without_a_key_are_found_wherever_and_however_they_are_written(
    lint: Lint, body: str
) -> None:
    linted = lint(f"""
@subflow
async def ask(n: int) -> None:
    await wait(paid).match_if(lambda call: call.input.amount > n)


@workflow
async def flow(n: int) -> None:
    {body}
""")
    expected = "info" if "parent=None" in body else "warning"
    assert linted.rules == [("wait-without-key", expected)]


def test_a_container_s_subflows_are_looked_at_and_its_fields_are_the_instance_s(
    lint: Lint,
) -> None:
    linted = lint("""
        class Paying(Container):
            limit: int = 3

            @workflow
            async def run(self) -> None:
                await wait(submit).match_any()
                await self.ask()

            @subflow
            async def ask(self) -> None:
                await wait(paid).match_if(lambda call: call.input.amount > self.limit)
    """)
    found = linted.only()
    assert (found.rule, found.severity, found.workflow) == (
        "wait-without-key",
        "warning",
        "Paying.run",
    )


def test_a_subflow_of_several_workflows_is_told_of_once_with_all_of_them(lint: Lint) -> None:
    linted = lint("""
        @subflow
        async def ask(n: int) -> None:
            await wait(paid).match_if(lambda call: call.input.amount > n)

        @workflow
        async def first(n: int) -> None:
            await ask(n)

        @workflow
        async def second(n: int) -> None:
            await ask(n)
    """)
    assert linted.only().workflow == "first, second"
