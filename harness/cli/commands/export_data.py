"""`harness export-data`: results as Parquet files, for pandas, Polars, DuckDB and the like."""

from harness.cli.arguments import Arguments
from harness.display.safe_console import SafeConsole, say
from harness.runs.api import load
from harness.runs.results.select_rows import search_paths


def main(arguments: Arguments) -> int:
    """Write a file for each table; docs/python.md lists their columns."""
    found = load(search_paths(arguments.paths))
    for path in found.to_parquet(arguments.to):
        say(f"written: {path}")
    for problem in found.notes:
        SafeConsole(stderr=True).print(f"not read: {problem}", highlight=False, soft_wrap=True)
    return 0
