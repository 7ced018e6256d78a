"""Plots and tables of docs/performance.md, made again from the results that are kept.

    python -m scale_tests.plots

reads `scale_tests/results/*.jsonl`, writes `docs/plots/*.svg`, and puts each table between its
markers `<!-- results:name -->` and `<!-- /results:name -->` in docs/performance.md and
docs/peers.md; `plot-stages` and so on is where a plot is shown. Equal results give equal files. What has no results yet is left out, and named.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scale_tests.drawing import draw
from scale_tests.kept_results import Results
from scale_tests.result_tables import COMMANDS, NOTHING, TABLES
from scale_tests.telling import RESULTS

DOCS: Final = Path(__file__).parents[1] / "docs"
DOCUMENTS: Final = ("performance.md", "peers.md")

_TABLE: Final = re.compile(
    r"<!-- results:(?P<name>[\w-]+) -->\n(?:.*?\n)??<!-- /results:(?P=name) -->", re.DOTALL
)


def refreshed(text: str, tables: Mapping[str, str]) -> str:
    """The text with these tables between their markers.

    Raises:
        SystemExit: a marker names no table, or has no second one.
    """
    found = [match["name"] for match in _TABLE.finditer(text)]
    unknown = sorted(set(found) - set(tables))
    if unknown:
        raise SystemExit(f"there are no tables {', '.join(unknown)}; there are {', '.join(tables)}")
    if text.count("<!-- results:") != len(found) or text.count("<!-- /results:") != len(found):
        raise SystemExit("a marker of a table has no other one: each begins and ends")
    return _TABLE.sub(lambda match: _between(match["name"], tables[match["name"]]), text)


def _between(name: str, table: str) -> str:
    return f"<!-- results:{name} -->\n\n{table}\n\n<!-- /results:{name} -->"


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where they are kept")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder of the documents")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Plots and tables are as the results say."""
    options = parsed(arguments)
    results = Results.read(options.results)
    tables = {name: made(results) for name, made in TABLES.items()}
    made, missing = draw(results, options.docs / "plots")
    tables |= {f"plot-{name}": f"![{name}](plots/{name}.svg)" for name in made}
    tables |= {f"plot-{name}": NOTHING for name in missing}
    for name in DOCUMENTS:
        document: Path = options.docs / name
        document.write_text(
            refreshed(document.read_text(encoding="utf-8"), tables), encoding="utf-8"
        )
    print(f"plots: {', '.join(made) or 'none'}")
    if missing:
        print(f"no results for the plots: {', '.join(missing)}")
    without = [command for command in COMMANDS if not results.of(command)]
    if without:
        print(f"no results of: {', '.join(without)}")


if __name__ == "__main__":
    main()
