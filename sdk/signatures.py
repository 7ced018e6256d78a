"""When two methods have the same signature: when the JSON of their calls is the same.

Services do not share classes: what one calls `Order` another may call `OrderIn`, and a model
declared for somebody else's method ignores names that the method itself refuses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, cast

_DESCRIBING = ("title", "description", "$defs")
_BY_NAME = ("properties", "patternProperties")
_REF = "#/$defs/"


def digest_of(input_schema: Mapping[str, Any], output_schema: Mapping[str, Any]) -> str:
    """Equal for methods whose inputs and outputs have the same JSON forms.

    The names of classes, titles, descriptions and the order of the parameters don't count.
    """
    given = {name: value for name, value in input_schema.items() if name != "additionalProperties"}
    form = [_Bare(given).form, _Bare(output_schema).form]
    text = json.dumps(form, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class _Bare:
    """A schema without the words that describe it; its definitions are numbered as they are met."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._definitions: Mapping[str, Any] = schema.get("$defs", {})
        self._numbers: dict[str, int] = {}
        self._met: list[Any] = []
        root = self._of(schema)
        self.form = [root, self._met]

    def _of(self, schema: Any) -> Any:
        if isinstance(schema, dict):
            found = cast(dict[str, Any], schema)
            return {
                name: self._by_name(value) if name in _BY_NAME else self._value(name, value)
                for name, value in sorted(found.items())
                if name not in _DESCRIBING
            }
        if isinstance(schema, list):
            return [self._of(one) for one in cast("list[Any]", schema)]  # type: ignore[redundant-cast]
        if isinstance(schema, str) and schema.startswith(_REF):
            return self._number(schema.removeprefix(_REF))
        return schema

    def _by_name(self, members: Any) -> Any:
        """Members of a model: their names are data, whatever they are."""
        return {name: self._of(one) for name, one in sorted(cast(dict[str, Any], members).items())}

    def _value(self, name: str, value: Any) -> Any:
        if name == "required":
            return sorted(value)
        if name in ("default", "const", "enum", "examples"):
            return value
        return self._of(value)

    def _number(self, definition: str) -> int:
        if definition not in self._numbers:
            self._numbers[definition] = number = len(self._met)
            self._met.append(None)
            self._met[number] = self._of(self._definitions.get(definition))
        return self._numbers[definition]
