"""Calls of `timed` instances, and the ages that those told which have ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from raysume.client import Client
from raysume.ids import InstanceId, instance_id_of, uuid7
from raysume.serve_apps.development import Development
from scale_tests.pushing import SINGLE_PATH, Sent, send_on_time

TIMED: Final = Path(__file__).with_name("timed_workloads.py")
WORKFLOW: Final = "timed"
OPENED: Final = "timed.opened"
TURNS_OF_PROBE: Final = 2
"""One takes the call, one the result of the step that looks at the clock."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A call whose time is taken."""

    account: int
    ends: bool
    """The last one of its instance."""


def plain_call(account: int) -> dict[str, Any]:
    """A call whose time is not taken."""
    return {"method": "timed.called", "input": {"account": account}}


def probe_body(probe: Probe, at_ns: int) -> bytes:
    """The call, as JSON; its time counts from `at_ns`."""
    told = {"account": probe.account, "sent_ns": at_ns, "ends": probe.ends}
    return msgspec.json.encode({"method": "timed.called", "id": uuid7(), "input": told})


def in_turns(accounts: Sequence[int], count: int) -> list[Probe]:
    """So many probes, of one account after the other; the last one of each ends its instance."""
    size = len(accounts)
    return [Probe(accounts[n % size], ends=n >= count - size) for n in range(count)]


def send_probes(
    development: Development, probes: Sequence[Probe], rate: float
) -> tuple[Sent, dict[int, list[int]]]:
    """The probes were sent on time; what became of them, and their moments (ns) by account."""
    moments: dict[int, list[int]] = {}

    def body(number: int, at_ns: int) -> bytes:
        probe = probes[number]
        moments.setdefault(probe.account, []).append(at_ns)
        return probe_body(probe, at_ns)

    sent = send_on_time(
        development.url, development.token, SINGLE_PATH, body, rate=rate, count=len(probes)
    )
    return sent, moments


def ages_ms(client: Client, accounts: Iterable[int]) -> dict[int, list[float]]:
    """Account -> the ages of its calls (milliseconds), of the instances that have ended."""
    wanted = {instance_id_of(WORKFLOW, f"open-{account}"): account for account in accounts}
    found: dict[int, list[float]] = {}
    for run in client.instances(WORKFLOW, status="completed"):
        account = wanted.get(InstanceId(run.id))
        if account is not None:
            found[account] = [age / 1_000 for age in run.facts.result]
    return found


def committed_ns(
    moments: Mapping[int, Sequence[int]], ages: Mapping[int, Sequence[float]]
) -> list[int]:
    """When each probe was committed (nanoseconds since the epoch), of accounts with one probe."""
    return [
        at_ns + int(age * 1e6)
        for account, sent in moments.items()
        for at_ns, age in zip(sent, ages.get(account, ()), strict=False)
    ]
