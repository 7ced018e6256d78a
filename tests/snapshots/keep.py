"""Keeps the state of the programs of a release: `python -m tests.snapshots.keep 0.1.0`.

Run once, when a release is made: what is kept is never written again.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from raysume.compiler import dumps, freeze, loads, thaw

HERE = Path(__file__).parent


def releases() -> list[str]:
    """The releases of which state is kept."""
    return sorted(path.parent.name for path in HERE.glob("*/kept_programs.py"))


def programs(release: str) -> ModuleType:
    """The programs of the release, under the module name that their state refers to."""
    name = f"kept_programs_{release.replace('.', '_')}"
    known = sys.modules.get(name)
    if known is not None:
        return known
    spec = importlib.util.spec_from_file_location(name, HERE / release / "kept_programs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def finish(coroutine: Any, answers: list[Any]) -> str:
    """What the program returns when its waits end with the answers, as text."""
    try:
        for answer in answers:
            coroutine.send(answer)
    except StopIteration as stop:
        return repr(stop.value)
    raise AssertionError("the program still waits")


def main() -> None:
    """The state of every program at each of its waits is kept, with the result to expect."""
    folder = HERE / sys.argv[1]
    module = programs(folder.name)
    expected: dict[str, str] = {}
    for name, (_, _, answers) in module.PROGRAMS.items():
        definition, arguments = module.definition_of(name)
        for wait in range(len(answers)):
            coroutine = definition.begin(*arguments)
            coroutine.send(None)
            for answer in answers[:wait]:
                coroutine.send(answer)
            data = dumps(freeze(coroutine))
            coroutine.close()
            again = thaw(loads(data))
            again.send(None)
            file = folder / f"{name}.{wait}.bin"
            if file.exists():
                sys.exit(f"{file} is kept already")
            file.write_bytes(data)
            expected[file.name] = finish(again, answers[wait:])
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
