"""What measurements compute of what they have measured. No test here looks at a clock."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import pytest
from scale_tests import (
    active_waits,
    flights_year,
    long_run,
    pushed_calls,
    recovery,
    resume_latency,
    soak,
)
from scale_tests.measuring import medians, percentile, slope, spread
from scale_tests.processes import part_of
from scale_tests.pushing import body_bytes
from scale_tests.timing import Probe, committed_ns, in_turns

from flights_data import calls_of, read_flights


@dataclass(frozen=True)
class Run:
    calls: float
    lost: float


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 500.5), (99, 990.99), (1, 10.01)], ids=["p50", "p99", "p1"]
)
def test_a_percentile_lies_between_its_neighbours(percent: int, expected: float) -> None:
    assert percentile([float(n) for n in range(1000, 0, -1)], percent) == pytest.approx(expected)


def test_a_percentile_of_few_values_is_none_that_was_never_seen() -> None:
    assert percentile([7.0], 99) == 7.0
    assert percentile([1.0, 2.0, 3.0], 99) == 3.0
    assert percentile([1.0, 2.0, 3.0], 1) == 1.0


def test_the_spread_of_runs_goes_from_the_least_to_the_greatest() -> None:
    runs = [Run(calls=3, lost=0), Run(calls=1, lost=2), Run(calls=2, lost=0)]
    assert spread(runs, ("calls", "lost")) == {"calls": [1, 2, 3], "lost": [0, 0, 2]}


def test_a_figure_of_several_runs_is_their_median() -> None:
    told = medians([{"s": 3.0}, {"s": 1.0}, {"s": 100.00049}])
    assert told == {"s": 3.0, "spread": {"s": [1.0, 3.0, 100.0]}}


def test_the_slope_is_that_of_the_line_of_least_squares() -> None:
    assert slope([(0, 5.0), (1, 7.0), (2, 9.0)]) == pytest.approx(2.0)
    assert slope([(0, 0.0), (1, 3.0), (2, 0.0), (3, 3.0)]) == pytest.approx(0.6)


def test_where_there_is_no_line_nothing_grows() -> None:
    assert slope([]) == 0.0
    assert slope([(1, 5.0)]) == 0.0
    assert slope([(1, 5.0), (1, 6.0)]) == 0.0


def test_the_memory_of_a_soak_is_judged_by_its_second_half() -> None:
    grows = [(float(n), {"engine": 100.0 + n, "pool": 50.0}) for n in range(100)]
    steady = [(100.0 + n, {"engine": 200.0, "pool": 50.0 + n / 3600}) for n in range(100)]
    figures = soak.memory_figures(grows + steady)
    assert figures["rss_slope_mb_per_hour"] == 0.0
    assert figures["rss_slopes_mb_per_hour"] == {"engine": 0.0, "pool": 1.0}
    assert figures["rss_first_mb"]["engine"] == 100.0
    assert figures["spread"] == {"rss_slope_mb_per_hour": [0.0, 0.0]}


def test_a_part_that_came_or_went_has_no_slope() -> None:
    samples = [(0.0, {"engine": 1.0}), (3600.0, {"engine": 3.0, "runner": 1.0})]
    assert soak.slopes_mb_per_hour(samples) == {"engine": 2.0}


def test_every_errand_of_a_soak_gets_the_calls_that_it_takes() -> None:
    errands = soak.Errands(waiting=20, seed=1)
    calls = [call for _ in range(30) for call in errands.calls(10)] + errands.rest()
    left: dict[int, int] = {}
    for call in calls:
        told = call["input"]
        if call["method"] == "soak.begun":
            assert told["errand"] not in left
            left[told["errand"]] = told["calls"]
        else:
            left[told["errand"]] -= 1
    assert len(left) == errands.begun > 20
    assert set(left.values()) == {0}


def test_the_last_probe_of_each_hot_instance_ends_it() -> None:
    probes = in_turns([4, 5], 5)
    assert [probe.account for probe in probes] == [4, 5, 4, 5, 4]
    assert [probe.ends for probe in probes] == [False, False, False, True, True]


def test_cold_instances_are_never_called_twice_and_are_none_of_the_others() -> None:
    accounts = resume_latency.Accounts(runs=2, probes=10, others=100)
    colds = [accounts.cold(10) + accounts.cold(5) for _ in range(2)]
    hots = [accounts.hot() for _ in range(5)]
    called = [one for series in (*colds, *hots) for one in series]
    assert len(set(called)) == len(called)
    assert not set(called) & set(accounts.others)
    assert len(called) + len(accounts.others) == accounts.total


def test_hot_and_cold_probes_alternate() -> None:
    hot, cold = [Probe(1, ends=False), Probe(2, ends=True)], [Probe(8, ends=True)] * 2
    found = [probe.account for probe in resume_latency.alternating(hot, cold)]
    assert found == [1, 8, 2, 8]


def test_a_probe_was_committed_at_its_moment_and_its_age_after() -> None:
    assert committed_ns({1: [1_000_000], 2: [5]}, {1: [2.5]}) == [3_500_000]


def test_the_length_of_an_answer_is_in_its_head() -> None:
    head = b"HTTP/1.1 202 Accepted\r\nServer: x\r\nContent-Length: 17\r\n"
    assert body_bytes(head) == 17
    with pytest.raises(SystemExit):
        body_bytes(b"HTTP/1.1 202 Accepted")


def test_processes_are_told_by_their_titles() -> None:
    assert part_of("ray::Pool.deliver") == "pool"
    assert part_of("ray::ServeReplica:raysume:ingress") == "ingress"
    assert part_of("/usr/lib/ray/raylet") is None


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1_000, [1_000]), (5_000, [1_000, 5_000]), (100_000, [1_000, 10_000, 100_000])],
)
def test_sizes_are_ten_times_each_other_up_to_the_largest(most: int, expected: list[int]) -> None:
    assert active_waits.sizes(most) == expected


def test_calls_of_several_days_come_in_the_order_of_time() -> None:
    flights = read_flights(date(2013, 1, 31), 2)
    assert list(flights_year.in_order(reversed(flights))) == calls_of(flights)


Parse = Callable[[list[str]], argparse.Namespace]


@pytest.mark.parametrize(
    "parse",
    [
        active_waits.parsed,
        flights_year.parsed,
        long_run.parsed,
        pushed_calls.parsed,
        recovery.parsed,
        resume_latency.parsed,
        soak.parsed,
    ],
    ids=lambda parse: parse.__module__.rpartition(".")[2],
)
def test_every_measurement_can_print_one_json_line(parse: Parse) -> None:
    assert parse([]).json is False
    assert parse(["--json"]).json is True


@pytest.mark.parametrize(
    ("parse", "words"),
    [
        (active_waits.parsed, ["--max", "10"]),
        (long_run.parsed, ["--turns", "100", "--part", "50"]),
        (recovery.parsed, ["--waits", "100", "--sample", "50"]),
        (resume_latency.parsed, ["--store", "papyrus"]),
    ],
)
def test_options_that_do_not_fit_are_refused(parse: Parse, words: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(words)


def test_a_year_of_flights_is_all_of_it() -> None:
    options = flights_year.parsed(["--year"])
    assert (options.first, options.days) == (date(2013, 1, 1), 365)
    assert flights_year.parsed([]).days == 1


def test_calls_one_by_one_are_a_batch_of_one() -> None:
    assert pushed_calls.parsed(["--single"]).batch == 1


def test_a_latency_series_has_as_many_probes_as_its_rate_and_length_say() -> None:
    options = resume_latency.parsed(["--rate", "50", "--seconds", "20"])
    assert resume_latency.probes_of(options) == 1_000
