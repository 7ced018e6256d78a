"""The model of throughput and latency: sums that can be done by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from scale_tests.model import (
    Cost,
    Costs,
    Setting,
    accepted_ms,
    alone_per_s,
    append_ms,
    best,
    cpu_us,
    expected,
    latency_ms,
    line_of,
    under_way,
)

COSTS = Costs(
    addition_ns=20.0,
    generator=Cost(call_us=10.0),
    proxy=Cost(call_us=1.0, request_us=100.0),
    ingress=Cost(call_us=5.0, request_us=250.0),
    pool=Cost(call_us=40.0, serial=0.5),
    member_us=4.0,
    version_us=3.0,
    others=Cost(call_us=8.0),
    commit_ms=4.0,
)
MACHINE = Setting(cores=2, addition_ns=20.0, batch=100, connections=4)


def test_a_request_costs_each_of_its_calls_a_part() -> None:
    assert Cost(call_us=5.0, request_us=250.0).at(100) == 7.5
    assert Cost(call_us=5.0, request_us=250.0).at(1) == 255.0


def test_a_slower_machine_needs_more_cpu_in_proportion() -> None:
    spent = cpu_us(COSTS, MACHINE)
    assert spent == {
        "generator": 10.0,
        "proxy": 2.0,
        "ingress": 7.5,
        "pool": 40.0,
        "older versions": 0.0,
        "others": 8.0,
    }
    slower = cpu_us(COSTS, replace(MACHINE, addition_ns=50.0))
    assert slower["pool"] == 100.0


def test_a_generator_elsewhere_costs_these_cores_nothing() -> None:
    assert cpu_us(COSTS, replace(MACHINE, has_generator=False))["generator"] == 0.0


def test_every_other_member_pays_for_a_call_that_is_not_for_it() -> None:
    assert cpu_us(COSTS, replace(MACHINE, members=4))["pool"] == 40.0 + 3 * 4.0


def test_every_older_version_costs_the_cores_but_not_the_pool() -> None:
    spent = cpu_us(COSTS, replace(MACHINE, versions=3))
    assert (spent["older versions"], spent["pool"]) == (6.0, 40.0)


def test_a_transaction_takes_longer_with_more_calls_in_it() -> None:
    assert append_ms(replace(COSTS, append_us=2.0), 500) == 5.0
    slow = alone_per_s(replace(COSTS, append_us=10.0), MACHINE)
    assert slow["call log"] == pytest.approx(400 / 0.008)


def test_each_part_has_its_own_limit() -> None:
    alone = alone_per_s(COSTS, MACHINE)
    assert alone["cores"] == pytest.approx(2e6 / 67.5)
    assert alone["pool member"] == pytest.approx(1e6 / 20.0)  # half of it is beside its thread
    assert alone["ingress replica"] == pytest.approx(1e6 / 7.5)
    assert alone["proxy"] == pytest.approx(1e6 / 2.0)
    assert alone["call log"] == pytest.approx(400 / 0.004)  # all that is in flight, each 4 ms


def test_members_and_replicas_divide_the_work_and_one_file_is_shared() -> None:
    alone = alone_per_s(COSTS, replace(MACHINE, members=4, replicas=2))
    assert alone["pool member"] == pytest.approx(4e6 / ((40.0 + 12.0) * 0.5))
    assert alone["ingress replica"] == pytest.approx(2e6 / 7.5)
    assert alone["call log"] == pytest.approx(200 / 0.004)
    own_logs = replace(MACHINE, members=4, replicas=2, log_is_shared=False)
    assert alone_per_s(COSTS, own_logs)["call log"] == pytest.approx(400 / 0.004)


def test_connections_that_wait_for_answers_send_no_more_than_that() -> None:
    one = replace(MACHINE, batch=1, connections=1)
    assert accepted_ms(COSTS, one) == pytest.approx((10 + 101 + 255) / 1e3 + 4.0)
    found = expected(COSTS, one)
    assert found.saturated == "connections"
    assert found.per_s == pytest.approx(1e3 / accepted_ms(COSTS, one))


def test_the_least_limit_says_what_is_used_up() -> None:
    assert expected(COSTS, MACHINE).saturated == "cores"
    large = replace(MACHINE, cores=64, connections=64)
    assert expected(COSTS, large).saturated == "pool member"
    assert expected(COSTS, large).per_s == pytest.approx(50_000)


def test_what_costs_nothing_limits_nothing() -> None:
    free = Costs(addition_ns=20.0, pool=Cost(call_us=10.0))
    alone = alone_per_s(free, MACHINE)
    assert alone["proxy"] == alone["ingress replica"] == alone["call log"] == math.inf
    assert expected(free, MACHINE).saturated == "pool member"


def test_latency_at_no_load_is_the_work_on_one_request_and_two_commits() -> None:
    working = (10.0 + 2.0 + 7.5 + 40.0) * 100 / 1e3
    assert latency_ms(COSTS, MACHINE, 0.0) == pytest.approx(working + 8.0)


def test_latency_grows_with_load_and_has_no_bound_at_the_limit() -> None:
    most = expected(COSTS, MACHINE).per_s
    found = [latency_ms(COSTS, MACHINE, most * part) for part in (0.1, 0.5, 0.9)]
    assert found == sorted(found)
    assert latency_ms(COSTS, MACHINE, most) == math.inf


def test_calls_under_way_are_rate_times_latency() -> None:
    assert under_way(1_000.0, 50.0) == 50.0


def test_the_best_setting_has_no_member_too_many() -> None:
    large = replace(MACHINE, cores=8, connections=64)
    chosen, found = best(COSTS, large, members=range(1, 17), replicas=range(1, 5))
    fewer = replace(chosen, members=chosen.members - 1)
    assert chosen.members > 1
    assert expected(COSTS, fewer).per_s < found.per_s


def test_two_sizes_of_requests_tell_what_a_request_costs() -> None:
    found = line_of({1: 255.0, 100: 7.5, 500: 5.5}, 0.8)
    assert found.at(1) == pytest.approx(255.0)
    assert found.at(500) == pytest.approx(5.5)
    assert found.serial == 0.8


def test_one_size_of_requests_tells_only_the_sum() -> None:
    assert line_of({500: 5.5}) == Cost(call_us=5.5)


def test_requests_never_cost_less_than_nothing() -> None:
    assert line_of({1: 5.0, 500: 6.0}) == Cost(call_us=6.0)
