"""Between two versions of a workflow there is one boundary, and no call is on both sides of it."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from raysume.actors.handover import Boundary, Record, end
from raysume.actors.kernel.tenure import Tenure

offsets = st.dictionaries(st.integers(1, 4), st.integers(0, 9))


def test_a_version_without_a_predecessor_covers_every_call() -> None:
    assert Tenure().covers(1, 0)
    assert Tenure(begins={}).covers(7, 0)


def test_a_version_covers_nothing_of_partitions_opened_after_its_end() -> None:
    ended = Tenure(begins={1: 5}, ends={1: 8})
    assert [n for n in range(12) if ended.covers(1, n)] == [5, 6, 7]
    assert not ended.covers(2, 0)


@given(boundary=offsets, partition=st.integers(1, 5), offset=st.integers(0, 12))
def test_each_call_is_covered_by_one_of_two_versions(
    boundary: Mapping[int, int], partition: int, offset: int
) -> None:
    old, new = Tenure(ends=boundary), Tenure(begins=boundary)
    assert old.covers(partition, offset) != new.covers(partition, offset)


@given(one=offsets, other=offsets, partition=st.integers(1, 4))
def test_joined_boundaries_are_behind_both(
    one: dict[int, int], other: dict[int, int], partition: int
) -> None:
    first, second = Boundary(offsets=one, newest=(1, 2)), Boundary(offsets=other, newest=(1, 3))
    joined = first.joined(second)
    assert joined.newest == (1, 3)
    expected = max(one.get(partition, 0), other.get(partition, 0))
    assert joined.offsets.get(partition, 0) == expected
    assert first.joined(None) == first


def test_an_ended_version_keeps_where_it_began() -> None:
    begins, ends = Boundary(offsets={1: 2}, newest=(1, 1)), Boundary(offsets={1: 9}, newest=(2, 8))
    assert end(Record(begins=begins), ends) == Record(begins=begins, ends=ends)
    assert end(None, ends).begins.offsets == {}
