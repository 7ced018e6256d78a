"""What the command refuses before it starts anything."""

from __future__ import annotations

import pytest
from scale_tests.peers.__main__ import PEERS, parsed


def test_without_options_all_peers_are_measured() -> None:
    assert parsed([]).peers == list(PEERS)


@pytest.mark.parametrize(
    "words",
    [
        ["--peers", "restate,nobody"],
        ["--instances", "0"],
        ["--runs", "0"],
        ["--probes", "4"],
        ["--long-events", "6"],
    ],
)
def test_a_load_that_cannot_be_measured_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(words)
    assert "error" in capsys.readouterr().err
