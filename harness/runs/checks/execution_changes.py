"""Change how unfinished runs are executed; what they measure stays as it was begun."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import UsageError, unknown
from harness.runs.limits import check_limits
from harness.runs.request import build_request, read_request, write_request
from harness.settings.catalog import catalog
from harness.settings.sources import Scalar, merge

Tables = Mapping[str, Mapping[str, Scalar]]


def change_execution(run_dirs: Sequence[Path], tables: Tables) -> None:
    """Give unfinished runs these settings.

    Raises:
        UsageError: One of them is not known, or says what is measured.
    """
    _check(tables)
    changed = []
    for run_dir in run_dirs if any(tables.values()) else ():
        request = build_request(merge(read_request(run_dir).to_tables(), tables))
        check_limits(request.limits, request.prices)
        changed.append((run_dir, request))
    # Only once all of them are known to be right.
    for run_dir, request in changed:
        if not (run_dir / "entry.json").exists():
            write_request(request, run_dir)


def _check(tables: Tables) -> None:
    known = catalog()
    for section, table in tables.items():
        if section not in known:
            raise unknown("section", section, list(known))
        for key in table:
            if key not in known[section] and section not in ("env", "method"):
                raise unknown(f"setting [{section}]", key, list(known[section]))
            if key not in known[section] or known[section][key].kind != "execution":
                raise UsageError(
                    f"{section}.{key} says what is measured, and a run measures what it began "
                    "with; start a new run to change it."
                )
