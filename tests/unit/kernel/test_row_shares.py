"""Shares of rows by number, in pages that come and go."""

from __future__ import annotations

import random

from raysume.actors.kernel.row_shares import RowShares


def test_it_holds_what_a_dictionary_holds() -> None:
    chance = random.Random(1)
    shares, expected = RowShares(), dict[int, int]()
    for _ in range(5_000):
        number = chance.randrange(2_000)
        share = chance.choice((0, chance.getrandbits(128)))
        assert shares.put(number, share) == expected.get(number, 0)
        if share:
            expected[number] = share
        else:
            expected.pop(number, None)
        assert len(shares) == len(expected)
    assert all(shares.of(number) == expected.get(number, 0) for number in range(2_100))


def test_a_page_without_shares_takes_no_memory() -> None:
    shares = RowShares()
    for number in range(1_000):
        shares.put(number, number + 1)
    for number in range(1_000):
        shares.put(number, 0)
    assert len(shares) == 0
    assert not shares._pages  # pyright: ignore[reportPrivateUsage]
