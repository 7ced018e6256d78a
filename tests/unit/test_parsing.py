"""Python's parser, used by several threads at once."""

from __future__ import annotations

import ast
import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from raysume.parsing import compiled, parsed, parsed_expression

THREADS = 8
MODULE = "\n".join(
    f"def f{n}(a, b=1):\n    return [a + b * {n} for a in range(b)]" for n in range(60)
)


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads give way to each other all the time, also while the parser makes objects."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(100)
    gc.callbacks.append(_give_way)
    yield
    gc.callbacks.remove(_give_way)
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


def _give_way(_phase: str, _info: dict[str, int]) -> None:
    """Runs while objects are made: then another thread may go on."""


@pytest.mark.usefixtures("hasty")
def test_trees_are_made_and_compiled_by_many_threads_at_once() -> None:
    def work(number: int) -> str:
        for _ in range(10):
            compiled(parsed(MODULE), f"<{number}>")
        return ast.unparse(parsed_expression(f"a + {number}"))

    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(work, range(4 * THREADS)))
    assert found == [f"a + {number}" for number in range(4 * THREADS)]
