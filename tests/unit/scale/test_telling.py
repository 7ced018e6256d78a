"""What commands do with their figures; what they tell of CPU by process."""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from scale_tests import (
    growth_costs,
    ingress_costs,
    kernel_costs,
    pushed_calls,
    serve_costs,
    storage_costs,
)
from scale_tests.conditions import stolen
from scale_tests.measuring import together
from scale_tests.processes import KindUsed, Used, kind_of, used_between
from scale_tests.telling import RESULTS, command_of, keep, printing_options, run_of, tell


def options_of(*words: str, **more: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    printing_options(parser)
    parser.set_defaults(**more)
    return parser.parse_args(words)


# --- printing and keeping ----------------------------------------------------------


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """It took a hundredth of the time."""
    monkeypatch.setattr("scale_tests.telling.stolen", lambda: {"stolen": 0.01})


def test_what_the_host_took_is_a_part_of_the_time_or_not_told() -> None:
    assert all(0.0 <= part <= 1.0 for part in stolen().values())


def test_figures_are_printed_as_one_line_with_their_conditions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell({"lost": 0}, {"load": 0.5}, options_of("--json"))
    told = {"lost": 0, "conditions": {"load": 0.5, "stolen": 0.01}}
    assert json.loads(capsys.readouterr().out) == told


def test_figures_are_printed_one_to_a_line_or_as_the_command_wants(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell({"lost": 0}, {"load": 0.5}, options_of())
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["lost", "0"],
        ["load", "0.5"],
        ["stolen", "0.01"],
    ]
    tell({"lost": 0}, {"load": 0.5}, options_of(), table=["nothing was lost"])
    assert capsys.readouterr().out == "nothing was lost\n"


def test_a_result_is_kept_behind_those_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/scale_tests/recovery.py"])
    keep({"all_s": 9.0}, "recovery", tmp_path)
    tell({"all_s": 8.0}, {"load": 0.5}, options_of("--keep", str(tmp_path), waits=1_000))
    first, last = (tmp_path / "recovery.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(first) == {"all_s": 9.0}
    kept = json.loads(last)
    assert (kept["all_s"], kept["conditions"]) == (8.0, {"load": 0.5, "stolen": 0.01})
    assert kept["run"]["options"] == {"waits": 1_000}
    assert "run" not in capsys.readouterr().out


def test_without_a_folder_results_are_kept_beside_the_commands() -> None:
    assert options_of("--keep").keep == RESULTS
    assert options_of().keep is None


def test_paths_are_not_kept_but_days_are() -> None:
    options = options_of(folder=Path("/somewhere"), first=date(2013, 1, 1), store="sqlite")
    assert run_of(options)["options"] == {"first": "2013-01-01", "store": "sqlite"}


def test_a_command_is_called_like_its_program_or_its_package() -> None:
    assert command_of("/somewhere/scale_tests/recovery.py") == "recovery"
    assert command_of("/somewhere/scale_tests/peers/__main__.py") == "peers"


@pytest.mark.parametrize(
    "parse",
    [
        growth_costs.parsed,
        ingress_costs.parsed,
        kernel_costs.parsed,
        serve_costs.parsed,
        storage_costs.parsed,
    ],
    ids=lambda parse: parse.__module__.rpartition(".")[2],
)
def test_commands_of_one_process_print_and_keep_like_the_others(parse: Any) -> None:
    options = parse(["--json", "--keep"])
    assert (options.json, options.keep) == (True, RESULTS)


@pytest.mark.parametrize(
    ("parse", "words"),
    [
        (growth_costs.parsed, ["--members", "17"]),
        (growth_costs.parsed, ["--versions", "0"]),
        (growth_costs.parsed, ["--calls", "750"]),
        (kernel_costs.parsed, ["--checkpoint-every", "750"]),
        (pushed_calls.parsed, ["--members", "0"]),
    ],
)
def test_numbers_that_do_not_fit_are_refused(parse: Any, words: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(words)


# --- CPU ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("ray::Pool.deliver", "pool"),
        ("ray::ServeReplica:raysume:ingress", "ingress"),
        ("ray::HAProxyManager", "proxy"),
        ("/opt/bin/haproxy", "haproxy"),
        ("/opt/ray/core/src/ray/raylet/raylet", "raylet"),
        ("/opt/ray/core/src/ray/gcs/gcs_server", "gcs"),
        ("postgres: walwriter", "postgres"),
        ("/usr/bin/python3", "other"),
        ("", "other"),
    ],
)
def test_every_process_is_of_a_kind(title: str, kind: str) -> None:
    assert kind_of(title) == kind


def test_cpu_of_a_kind_is_that_of_its_processes_between_two_looks() -> None:
    before = {1: Used("pool", 5.0, {1: 4.0, 11: 1.0}), 2: Used("pool", 1.0, {2: 1.0})}
    after = {
        1: Used("pool", 8.0, {1: 5.5, 11: 2.5}),
        2: Used("pool", 1.5, {2: 1.5}),
        3: Used("gcs", 0.25, {3: 0.25}),  # it has begun meanwhile
    }
    assert used_between(before, after) == {
        "pool": KindUsed(3.5, 1.5),
        "gcs": KindUsed(0.25, 0.25),
    }


def test_another_process_under_the_same_number_counts_from_its_begin() -> None:
    before = {1: Used("pool", 5.0, {1: 5.0})}
    after = {1: Used("raylet", 0.5, {1: 0.5})}
    assert used_between(before, after) == {"raylet": KindUsed(0.5, 0.5)}


def test_the_pool_that_is_called_is_told_from_the_others() -> None:
    pids = {"account@3f2a91/0": 1, "account@3f2a91/1": 2, "probe@aa/0": 3}
    assert pushed_calls.kinds_of(pids) == {1: "pool", 2: "pool", 3: "other pools"}


def test_cpu_is_told_by_process_for_each_call() -> None:
    used = {"gcs": KindUsed(0.1, 0.1), "pool": KindUsed(0.5, 0.4)}
    told = pushed_calls.per_call(used, 0.2, 10_000)
    assert told["cpu_us_per_call"] == 60.0
    assert told["client_cpu_us_per_call"] == 20.0
    assert told["cpu_us_by_process"] == {"pool": 50.0, "gcs": 10.0, "generator": 20.0}
    assert told["busiest_thread_us"] == {"pool": 40.0, "gcs": 10.0}


def test_members_of_a_pool_count_together() -> None:
    members: list[dict[str, Any]] = [
        {"pool": "a@1/0", "pid": 7, "shards": [1, 3], "turns": 5, "applied_calls": 9},
        {"pool": "a@1/1", "pid": 8, "shards": [0, 2], "turns": 3, "applied_calls": 8},
    ]
    members[0]["kept"], members[1]["kept"] = {"cold": 2}, {"cold": 1}
    assert together(members) == {
        "pool": "a@1/0",
        "pid": 7,
        "shards": [0, 1, 2, 3],
        "turns": 8,
        "applied_calls": 8,
        "kept": {"cold": 3},
    }
    assert together(members[:1]) == members[0]


def test_one_more_costs_what_the_line_of_least_squares_says() -> None:
    assert growth_costs.one_more_us({1: 80.0, 2: 88.0, 4: 104.0}) == 8.0
    assert growth_costs.one_more_us({1: 80.0}) == 0.0
    assert growth_costs.one_more_us({1: 80.0, 2: 79.0}) == 0.0


def test_every_shard_has_one_member() -> None:
    for number in (1, 3, 16):
        shards = [one for member in growth_costs.of_members(number) for one in member]
        assert shards == list(range(16))
