"""From results that are kept to stages, tables and plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scale_tests import plots
from scale_tests.drawing import PLOTS, draw
from scale_tests.kept_results import Results, cores_of
from scale_tests.model_checks import latency_checks, throughput_checks
from scale_tests.result_tables import NOTHING, TABLES, number, table
from scale_tests.stage_costs import costs_of, stages

MADE_IN: dict[str, Any] = {
    "machine": "x86_64, 2 cores, Linux",
    "addition_ns": 40.0,
    "load": 0.5,
    "store": "sqlite, WAL, synchronous=FULL",
}


def line(**figures: Any) -> dict[str, Any]:
    return {**figures, "conditions": MADE_IN}


def pushed(batch: int, pool_us: float, **more: Any) -> dict[str, Any]:
    made = {
        "batch": batch,
        "connections": 4,
        "members": 1,
        "replicas": 1,
        "waits": 1_000,
        "accepted_per_s": 9_000.0,
        "committed_per_s": 8_000.0,
        "lost": 0,
        "cpu_us_by_process": {
            "generator": 20.0,
            "haproxy": 4.0,
            "proxy": 1.0,
            "ingress": 30.0,
            "pool": pool_us,
            "gcs": 6.0,
            "other": 2.0,
        },
        "busiest_thread_us": {"haproxy": 4.0, "ingress": 24.0, "pool": 0.75 * pool_us, "gcs": 6.0},
        "spread": {"committed_per_s": [7_000.0, 8_000.0, 8_100.0]},
    }
    return line(**(made | more))


KERNEL = line(
    decode_us=1.0,
    match_us=3.0,
    apply_us=60.0,
    encode_us=7.0,
    store_us=1.0,
    note_us=2.0,
    checkpoint_us=5.0,
    waits=1_000,
)
INGRESS = line(
    loads=[
        {"calls_per_request": 1, "connections": 64, "calls_per_s": 4_000, "cpu_us_per_call": 170.0},
        {
            "calls_per_request": 500,
            "connections": 8,
            "calls_per_s": 80_000,
            "cpu_us_per_call": 10.0,
        },
    ],
    stages_us={"decode": 1.0, "check": 5.0, "append": 1.5, "encode": 0.5},
)
STORAGE = line(
    microseconds_an_item={
        "call alone in a segment": {"cpu": 250.0, "wall": 4_005.0},
        "call in a segment of 500": {"cpu": 2.0, "wall": 13.0},
    }
)
GROWTH = line(
    members={
        "1": {"all_us": 80.0, "busiest_us": 80.0},
        "2": {"all_us": 88.0, "busiest_us": 45.0},
    },
    versions={
        "1": {"all_us": 80.0, "busiest_us": 80.0},
        "2": {"all_us": 84.0, "busiest_us": 80.0},
    },
    member_us=8.0,
    version_us=4.0,
)
WAITS = line(
    keyed={
        "1000": {"match_us": 2.6, "call_us": 80.0, "any_call_us": 80.0},
        "10000": {"match_us": 2.9, "call_us": 82.0, "any_call_us": 90.0},
    },
    keyless={"1000": {"match_us": 600.0}},
    keyless_shared={"1000": {"match_us": 6.0}},
)
LATENCY = line(
    rate=50.0,
    half_load_per_s=1_000.0,
    half_load_batch=100,
    hot_p50_ms=12.0,
    half_load_p50_ms=30.0,
)
RECOVERY = line(waits=1_000, first_call_s=2.0, all_s=3.0)

WITHOUT_CLUSTER = Results(
    {
        "kernel_costs": [KERNEL],
        "ingress_costs": [INGRESS],
        "storage_costs": [STORAGE],
        "growth_costs": [GROWTH],
    }
)
ALL = Results(
    {
        **WITHOUT_CLUSTER.lines,
        "pushed_calls": [pushed(500, 90.0), pushed(1, 290.0, committed_per_s=900.0)],
        "active_waits": [WAITS],
        "resume_latency": [LATENCY],
        "recovery": [RECOVERY],
    }
)
NONE = Results({})


# --- reading -----------------------------------------------------------------------


def test_results_are_read_in_their_order(tmp_path: Path) -> None:
    lines = [{"waits": 1, "s": 1.0}, {"waits": 2, "s": 2.0}, {"waits": 1, "s": 3.0}]
    text = "\n".join(json.dumps(one) for one in lines)
    (tmp_path / "recovery.jsonl").write_text(text + "\n\n", encoding="utf-8")
    results = Results.read(tmp_path)
    assert results.of("recovery") == lines
    assert results.newest("recovery") == lines[2]
    assert results.newest_by("recovery", "waits") == [lines[2], lines[1]]
    assert results.newest("soak") is None


@pytest.mark.parametrize("text", ["{", "[1]", "no JSON"])
def test_a_line_that_is_no_result_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "soak.jsonl").write_text("{}\n" + text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"soak\.jsonl, line 2"):
        Results.read(tmp_path)


def test_the_cores_of_a_machine_are_in_its_conditions() -> None:
    assert cores_of(KERNEL) == 2


# --- stages and the model ----------------------------------------------------------


def test_stages_are_told_at_the_speed_of_a_usual_machine() -> None:
    found = {(one.process, one.name): one.us for one in stages(WITHOUT_CLUSTER)}
    assert found["pool", "match: find the waits of the call"] == 1.5
    assert found["pool", "resume, snapshot, record"] == 28.5  # half of 60 - 3
    assert found["ingress", "HTTP, event loop, group commit"] == 1.0  # half of 10 - 8


def test_what_no_stage_explains_is_a_stage_of_its_own() -> None:
    found = {(one.process, one.name): one.measured_us for one in stages(ALL)}
    assert found["generator", "all of it"] == 20.0
    rest = found["pool", "receive from Ray, event loop, effects"]
    assert rest == pytest.approx(90.0 - 76.0)
    assert found["gcs", "all of it"] == 6.0


def test_without_a_cluster_the_model_says_what_it_lacks() -> None:
    costs = costs_of(WITHOUT_CLUSTER)
    assert costs is not None
    assert costs.pool.call_us == pytest.approx(38.0)
    assert costs.ingress.at(500) == pytest.approx(5.0)
    assert (costs.member_us, costs.version_us) == (4.0, 2.0)
    assert costs.commit_ms == pytest.approx(4.0)
    assert costs.append_us == pytest.approx(5.0)
    assert "proxy" in costs.missing
    assert "bounds from above" in TABLES["expected"](WITHOUT_CLUSTER)
    assert "is not checked yet" in TABLES["checks"](WITHOUT_CLUSTER)


def test_with_results_of_a_cluster_the_model_has_every_process() -> None:
    costs = costs_of(ALL)
    assert costs is not None
    assert costs.missing == ()
    assert costs.pool.at(500) == pytest.approx(45.0)
    assert costs.pool.at(1) == pytest.approx(145.0)
    assert costs.pool.serial == pytest.approx(0.75)
    assert costs.proxy.at(500) == pytest.approx(2.5)
    assert costs.others.at(500) == pytest.approx(4.0)


def test_other_members_and_stores_are_predicted_not_given() -> None:
    more = pushed(500, 120.0, members=4)
    runs = [*ALL.of("pushed_calls"), more]
    results = Results({**ALL.lines, "pushed_calls": runs})
    costs = costs_of(results)
    assert costs == costs_of(ALL)
    assert costs is not None
    found = {one.what: one.has_given for one in throughput_checks(results, costs)}
    assert found["engine, 1,000 waits, 500 a request, 4 connections, 1 members, 1 replicas"] is True
    assert (
        found["engine, 1,000 waits, 500 a request, 4 connections, 4 members, 1 replicas"] is False
    )


def test_measured_latency_stands_beside_the_expected_one() -> None:
    costs = costs_of(ALL)
    assert costs is not None
    low, half = latency_checks(ALL, costs)
    assert (low.offered_per_s, low.measured_ms) == (50.0, 12.0)
    assert half.under_way == pytest.approx(30.0)
    assert low.expected_ms > 8.0  # two commits


# --- tables ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((7704.4, "7,704"), (158.04, "158"), (2.9649, "2.96"), (0.51, "0.510"), (0.0, "0")),
        *((16, "16"), (True, "True"), (None, ""), ("yes", "yes"), (float("inf"), "no limit")),
    ],
)
def test_figures_have_three_digits_that_count(value: float | str | None, text: str) -> None:
    assert number(value) == text


def test_a_table_without_rows_says_so() -> None:
    assert table(("a",), []) == NOTHING
    assert table(("a", "b"), [(1, "x")]) == "| a | b |\n|---|---|\n| 1 | x |"


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_made_whatever_is_there(name: str) -> None:
    made = TABLES[name]
    assert made(NONE) == NOTHING
    assert made(WITHOUT_CLUSTER)
    assert made(ALL)


def test_a_figure_is_told_with_its_spread() -> None:
    assert "`committed_per_s` 8,000 (7,000 to 8,100)" in TABLES["figures"](ALL)


def test_tables_stand_between_their_markers() -> None:
    text = "before\n<!-- results:a -->\nold\n<!-- /results:a -->\nafter\n"
    found = plots.refreshed(text, {"a": "new"})
    assert found == "before\n<!-- results:a -->\n\nnew\n\n<!-- /results:a -->\nafter\n"
    assert plots.refreshed(found, {"a": "new"}) == found


@pytest.mark.parametrize(
    "text",
    [
        "<!-- results:b -->\n<!-- /results:b -->",
        "<!-- results:a -->\nwithout an end",
        "<!-- results:a -->\n<!-- /results:c -->",
    ],
)
def test_markers_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(SystemExit):
        plots.refreshed(text, {"a": "new"})


# --- plots -------------------------------------------------------------------------


def test_equal_results_give_equal_plots(tmp_path: Path) -> None:
    made, missing = draw(ALL, tmp_path / "one")
    draw(ALL, tmp_path / "two")
    assert (set(made), missing) == (set(PLOTS), [])
    for name in made:
        first, second = ((tmp_path / at / f"{name}.svg").read_bytes() for at in ("one", "two"))
        assert first == second
        assert b"<dc:date>" not in first


def test_a_plot_without_results_is_not_there(tmp_path: Path) -> None:
    old = tmp_path / "recovery.svg"
    old.write_text("of results that are gone", encoding="utf-8")
    made, missing = draw(NONE, tmp_path)
    assert (made, set(missing)) == ([], set(PLOTS))
    assert not old.exists()


def test_the_documents_are_as_the_kept_results_say() -> None:
    results = Results.read()
    tables = {name: made(results) for name, made in TABLES.items()}
    for name in plots.DOCUMENTS:
        text = (plots.DOCS / name).read_text(encoding="utf-8")
        for table_name, told in tables.items():
            marker = f"<!-- results:{table_name} -->"
            if marker in text:
                assert f"{marker}\n\n{told}\n\n<!-- /results:" in text, "run scale_tests.plots"
