"""Real flights through a whole engine, as fast as it takes them: a day, some days, or all of 2013.

    python -m scale_tests.flights --year --json

This is only the door: see `flights_year`. The workflows, and what reads the file and compares the
figures, are those of the example, in a folder that is no package.
"""

from __future__ import annotations

import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def main() -> int:
    """Runs the measurement; the exit code is 0 when the engine's figures equal those of the file."""
    sys.path.insert(0, str(EXAMPLES))
    from scale_tests.flights_year import main as measure

    return measure()


if __name__ == "__main__":
    sys.exit(main())
