"""From rounds of several systems to medians, spreads and ratios."""

from __future__ import annotations

from scale_tests.peers.comparing import FIGURES, ratios, summary
from scale_tests.peers.measuring import Round


def rounds(*figures: dict[str, float]) -> list[Round]:
    return [Round(figures=one) for one in figures]


def test_more_is_compared_with_the_peer_that_has_most_and_less_with_the_one_that_has_least() -> (
    None
):
    told = ratios(
        {
            "raysume": rounds({"resumed_per_s": 6_000.0, "cpu_per_event_us": 200.0}),
            "slow": rounds({"resumed_per_s": 100.0, "cpu_per_event_us": 8_000.0}),
            "fast": rounds({"resumed_per_s": 500.0, "cpu_per_event_us": 1_000.0}),
        }
    )
    assert told["resumed_per_s_ratio"] == 12.0
    assert told["cpu_per_event_ratio"] == 0.2
    assert told["best_peer"]["resumed_per_s"] == "fast"
    assert told["best_peer"]["cpu_per_event"] == "fast"


def test_ratios_are_of_medians_and_of_each_round() -> None:
    told = ratios(
        {
            "raysume": rounds(*({"recovery_s": value} for value in (2.0, 1.0, 4.0))),
            "peer": rounds(*({"recovery_s": value} for value in (4.0, 4.0, 1.0))),
        }
    )
    assert told["recovery_ratio"] == 0.5
    assert told["recovery_ratio_rounds"] == [0.5, 0.25, 4.0]


def test_a_figure_that_a_system_lacks_or_that_is_too_small_to_tell_has_no_ratio() -> None:
    told = ratios(
        {
            "raysume": rounds({"latency_p50_ms": 2.0, "memory_per_instance_bytes": 0.0}),
            "peer": rounds({"memory_per_instance_bytes": 500.0}),
        }
    )
    assert told["latency_p50_ratio"] is None
    assert told["memory_per_instance_ratio"] is None
    assert told["best_peer"]["latency_p50"] is None


def test_a_round_without_ours_does_not_shift_the_others() -> None:
    told = ratios(
        {
            "raysume": rounds({}, {"recovery_s": 1.0}),
            "peer": rounds({"recovery_s": 2.0}, {"recovery_s": 4.0}),
        }
    )
    assert told["recovery_ratio_rounds"] == [None, 0.25]


def test_a_summary_has_the_spread_and_says_what_was_refused() -> None:
    found = rounds({"recovery_s": 3.0}, {"recovery_s": 1.0}, {})
    found[2].refused = "too many events"
    told = summary(found)
    assert told["figures"] == {
        "recovery_s": {"median": 2.0, "spread": [1.0, 3.0], "rounds": [3.0, 1.0]}
    }
    assert told["refused"] == ["too many events"]
    assert "failed" not in told


def test_every_figure_has_a_name_of_its_own() -> None:
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)
