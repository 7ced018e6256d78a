"""The peers' packages, installed where raysume does not see them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from scale_tests.peers.peer import Unavailable

PINS: Final = Path(__file__).with_name("pins.toml")
ROOT: Final = Path(__file__).parents[2]
CACHE: Final = ROOT / "build" / "peers"
"""Ignored by git, and removed by `make clean`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """The exact versions of one environment, as the package managers write them."""

    python: tuple[str, ...]
    npm: tuple[str, ...] = ()
    brought: tuple[str, ...] = ()
    """Of Python too: what the packages of the peer need."""

    def versions(self) -> dict[str, str]:
        """Package -> version, of the peer's own."""
        python = (pin.split("==") for pin in self.python)
        npm = (pin.rsplit("@", 1) for pin in self.npm)
        return {name.split("[")[0]: version for name, version in (*python, *npm)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where a peer's programs are."""

    folder: Path
    pins: Pins

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def script(self, name: str) -> Path:
        """A program that a Python package brought along."""
        return self.folder / "bin" / name

    def npm_program(self, name: str) -> Path:
        """A native program of a package of npm, not the script of node that starts it.

        Raises:
            Unavailable: there is none for this machine.
        """
        found = sorted((self.folder / "node_modules").glob(f"@*/*/bin/{name}"))
        if not found:
            raise Unavailable(f"npm brought no program {name} for this machine")
        return found[0]


def pinned(name: str) -> Pins:
    """The versions of one environment."""
    table = tomllib.loads(PINS.read_text(encoding="utf-8"))[name]
    return Pins(
        python=tuple(table["python"]),
        npm=tuple(table.get("npm", ())),
        brought=tuple(table["brought"]),
    )


def environment(name: str, cache: Path) -> Environment:
    """The pinned packages are installed; nothing is done when they were.

    Raises:
        Unavailable: they cannot be; the end of the installer's output is in the message.
    """
    pins = pinned(name)
    made = Environment(folder=cache / name, pins=pins)
    stamp = made.folder / "installed.json"
    wanted = json.dumps([asdict(pins), sys.version_info[:2]])
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return made
    shutil.rmtree(made.folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", made.folder])
    packages = (*pins.python, *pins.brought)
    _run([made.python, "-m", "pip", "install", "--disable-pip-version-check", *packages])
    if pins.npm:
        # Scripts of packages are not run: their programs come ready in the packages.
        options = ("--no-audit", "--no-fund", "--ignore-scripts", "--save-exact")
        _run(["npm", "install", *options, "--prefix", made.folder, *pins.npm])
    stamp.write_text(wanted, encoding="utf-8")
    return made


def _run(command: list[str | Path]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Unavailable(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        end = (done.stdout + done.stderr)[-1_000:].strip()
        raise Unavailable(f"{' '.join(map(str, command[:4]))} failed: {end}")
