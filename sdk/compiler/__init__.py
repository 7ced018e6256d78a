"""Durable coroutines: an `async def` rewritten so that it can be saved at its waits and entered again.

    source -> normalised statements -> guarded statements -> native coroutine function
                                                              |  freeze  -> dumps
                                                              |  thaw    <- loads

See docs/compiler.md for how the lowering works and for what it refuses.
"""

from raysume.compiler.compiled import Point
from raysume.compiler.definitions import (
    Definition,
    SubflowCall,
    compile_subflow,
    compile_workflow,
)
from raysume.compiler.finding import definitions_scope, register
from raysume.compiler.frames import (
    FrameView,
    enter,
    frame_at,
    frames_of,
    freeze,
    leaf_of,
    subflows_of,
    thaw,
)
from raysume.compiler.giving import Provided, keeping_provided
from raysume.compiler.pickling import (
    SNAPSHOT_FORMAT,
    dumps,
    is_self_contained,
    loads,
    traceback_text,
)
from raysume.compiler.refusals import RULES
from raysume.compiler.sizes import VariableSize, largest_variables
from raysume.compiler.states import FrameState, Frozen

__all__ = [
    "RULES",
    "SNAPSHOT_FORMAT",
    "Definition",
    "FrameState",
    "FrameView",
    "Frozen",
    "Point",
    "Provided",
    "SubflowCall",
    "VariableSize",
    "compile_subflow",
    "compile_workflow",
    "definitions_scope",
    "dumps",
    "enter",
    "frame_at",
    "frames_of",
    "freeze",
    "is_self_contained",
    "keeping_provided",
    "largest_variables",
    "leaf_of",
    "loads",
    "register",
    "subflows_of",
    "thaw",
    "traceback_text",
]
