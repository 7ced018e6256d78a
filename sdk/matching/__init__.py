"""Matching: from a wait to what is stored of it, and from a call to the waits it may meet.

`bind` turns a wait into a key and a predicate, `extractor` gives the keys of calls, and
`evaluate` decides on the calls found; `foreseen_shape` tells the key's shape before there are
values. What `evaluate` accepts is always found by key.
"""

from __future__ import annotations

from raysume.matching.binding import Binding, MatchAnyWarning, bind, foreseen_shape
from raysume.matching.extraction import Extractor, Parsed, extractor
from raysume.matching.predicates import evaluate

__all__ = [
    "Binding",
    "Extractor",
    "MatchAnyWarning",
    "Parsed",
    "bind",
    "evaluate",
    "extractor",
    "foreseen_shape",
]
