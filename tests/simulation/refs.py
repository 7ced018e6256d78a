"""The shards of a version, by number."""

from __future__ import annotations

from collections.abc import Iterable

from raysume.storage.ports import ShardRef


def shards_of(workflow: str, version: str, numbers: Iterable[int]) -> list[ShardRef]:
    """Some shards of a version, by number."""
    return [ShardRef(workflow=workflow, version=version, number=number) for number in numbers]
