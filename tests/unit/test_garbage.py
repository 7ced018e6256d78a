"""The collector is off while a recovery makes its objects, and as it was afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from raysume.actors.garbage import no_collection


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    was_enabled = gc.isenabled()
    yield
    if was_enabled:
        gc.enable()


def test_nobody_collects_meanwhile() -> None:
    gc.enable()
    with no_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_failure_inside_leaves_the_collector_on() -> None:
    gc.enable()
    with pytest.raises(KeyError), no_collection():
        raise KeyError
    assert gc.isenabled()


def test_who_had_it_off_keeps_it_off() -> None:
    gc.disable()
    with no_collection():
        pass
    assert not gc.isenabled()
