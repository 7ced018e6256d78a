"""The command line, `raysume`. What a command needs is imported when it runs, not before."""

from __future__ import annotations


def main() -> None:
    """The command of this process has been carried out; the process ends with its exit code."""
    from raysume.serve_apps.cli.root import raysume

    raysume(prog_name="raysume")


__all__ = ["main"]
