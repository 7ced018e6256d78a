"""What makes two deployments of a workflow the same version: digests of its source.

The *shape* is of the functions that hold an instance's state: the workflow, its subflows and what
is nested in them. Two versions of one shape have the same points and the same variables. The *logic*
is of all of the user's definitions that these reach: a new one is a new version.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from raysume.compiler.durability import reachable
from raysume.versions.canonical import DIGEST_BYTES, digest_of
from raysume.versions.reach import Reach

if TYPE_CHECKING:
    from raysume.compiler.definitions import Definition


@dataclass(frozen=True, slots=True, kw_only=True)
class Digests:
    """Of one workflow; hexadecimal, 32 digits each."""

    shape: str
    logic: str


def digests_of(definition: Definition) -> Digests:
    """The digests of a workflow, as its files are now."""
    durable = reachable(definition)
    shape = blake2b(digest_size=DIGEST_BYTES)
    for part in sorted(_shapes(durable)):
        shape.update(part)
    reach = Reach()
    for one in durable:
        reach.add(one.function, one.owner)
    logic = blake2b(shape.digest(), digest_size=DIGEST_BYTES)
    logic.update(definition.name.encode())
    for part in reach.digest():
        logic.update(len(part).to_bytes(8, "big"))
        logic.update(part)
    return Digests(shape=shape.hexdigest(), logic=logic.hexdigest())


def _shapes(durable: list[Definition]) -> Iterator[bytes]:
    for one in durable:
        node: ast.AsyncFunctionDef = one.compiled.source.node
        body = digest_of(node.args, ast.Module(node.body, []))
        yield one.function.__qualname__.encode() + b"\0" + body
